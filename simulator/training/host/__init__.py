"""What a host holds and updates for its devices."""
