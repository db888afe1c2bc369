"""What is in a directory of session sequences: statistics, plots and a data card. Without Beam."""
