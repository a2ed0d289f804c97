"""Arrays that compute where they store: what they return, with their errors, and how many steps they take."""
