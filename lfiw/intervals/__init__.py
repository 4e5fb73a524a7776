"""How sure a weighted score is: standard errors, intervals, the control of equal ESS, the limit of many samples."""
