/ Tables of the tickerplant and the real-time database. Not run here: this project has no q; see README.txt.
/ Every table begins with time, a timestamp that the feed sends, and sym.
trade:([]time:`timestamp$();sym:`symbol$();price:`float$();size:`long$())
quote:([]time:`timestamp$();sym:`symbol$();bid:`float$();ask:`float$())
