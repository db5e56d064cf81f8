/ A real-time database: today in memory, at the day's end a partition of the history.  q rdb.q HDBFOLDER -p 5011
/ Not run here: this project has no q; see README.txt. The tickerplant listens at 5010, the history at 5012.
.rdb.hdb:hsym`$first .z.x,enlist"hdb"
upd:insert

/ Schemas, and how many updates the log had with them, in one question: what comes later waits, no hole and no double.
.rdb.tp:hopen`::5010
.rdb.start:.rdb.tp"(.u.sub[`;`];.u.i;.u.L)"
{(x 0)set x 1}each .rdb.start 0
-11!.rdb.start 1 2
@[;`sym;`g#]each tables`.
.z.pc:{if[x=.rdb.tp;exit 1]}                                  / without a tickerplant, no true today

/ Each table splayed under the day, sorted by sym and parted; then memory is emptied and the history read again. A day
/ that is there is not written over: emptied tables would take its place.
.u.end:{[d]
  if[(`$string d)in key .rdb.hdb;'"written before, remove it first if it is not whole: ",string d];
  .Q.dpft[.rdb.hdb;d;`sym]each tables`.;
  {x set @[0#value x;`sym;`g#]}each tables`.;
  h:hopen`::5012;
  h"\\l .";
  hclose h}
