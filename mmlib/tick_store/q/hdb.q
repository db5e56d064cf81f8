/ A historical database: the partitions that rdb.q wrote.  q hdb.q HDBFOLDER -p 5012
/ Not run here: this project has no q; see README.txt. Ask for a day: select from trade where date=2026.01.02
system"l ",first .z.x,enlist"hdb"
