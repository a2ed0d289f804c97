"""What a study is made of, how its rows come about, and where studies are found."""
