"""What an archive is made from: finding sources, and opening the sounds in them."""
