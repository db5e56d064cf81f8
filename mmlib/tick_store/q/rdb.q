/ A real-time database: today in memory, at the day's end a partition of the history.  q rdb.q HDBFOLDER -p 5011
/ Not run here: this project has no q; see README.txt. The tickerplant listens at 5010, the history at 5012.
.r.hdb:hsym`$first .z.x,enlist"hdb"
upd:insert

/ Schemas, and how many updates the log had with them, in one question: what comes later waits, no hole and no double.
.r.tp:hopen`::5010
.r.start:.r.tp"(.u.sub[`;`];.u.i;.u.L)"
{(x 0)set x 1}each .r.start 0
-11!.r.start 1 2
@[;`sym;`g#]each tables`.
.z.pc:{if[x=.r.tp;exit 1]}                                    / without a tickerplant, no true today

/ Each table splayed under the day, sorted by sym and parted; then memory is emptied and the history read again.
.u.end:{[d]
  .Q.dpft[.r.hdb;d;`sym]each tables`.;
  {x set @[0#value x;`sym;`g#]}each tables`.;
  h:hopen`::5012;
  h"\\l .";
  hclose h}
