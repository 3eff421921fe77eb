"""From video records to each member's predictions under each time shift."""
