"""The exploratory analyses of §4 and the comparison by context of §6.3 (Fig. 5), of any log."""
