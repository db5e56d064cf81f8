/ A tickerplant: logs an update, then sends it to who asked for its table.  q tick.q LOGFOLDER -p 5010
/ Not run here: this project has no q; see README.txt.
\l schema.q
.u.dir:first .z.x,enlist"."
.u.t:tables`.
.u.w:([]table:`symbol$();handle:`int$();syms:())                / who wants what; an empty symbol is all of them

/ The log of a day. A torn one stops the start and says where it ends.
.u.open:{[d]
  .u.L:hsym`$.u.dir,"/",string[d],".log";
  if[()~key .u.L;.u.L set()];
  n:-11!(-2;.u.L);
  if[0<=type n;'"torn after ",string[n 0]," updates, cut it to ",string[n 1]," bytes: ",string .u.L];
  .u.d:d;.u.i:n;.u.l:hopen .u.L}

/ x: the columns of t in its order, or one row. Log first, so that nobody sees what a kill can lose.
.u.upd:{[t;x]
  if[not t in .u.t;'"no table ",string t];
  x:$[0>type first x;enlist each x;x];
  rows:flip(cols t)!x;
  if[not(exec t from meta t)~exec t from meta rows;'"types of ",string t];
  .u.l enlist(`upd;t;x);
  .u.i+:1;
  .u.send[t;rows]each select handle,syms from .u.w where table=t;
  .u.i}
.u.send:{[t;rows;w]
  rows:$[any null w`syms;rows;select from rows where sym in w`syms];
  if[count rows;neg[w`handle](`upd;t;rows)]}

.u.sub:{[t;s]
  if[t~`;:.u.sub[;s]each .u.t];
  if[not t in .u.t;'"no table ",string t];
  delete from`.u.w where table=t,handle=.z.w;
  `.u.w upsert`table`handle`syms!(t;.z.w;(),s);
  (t;0#value t)}
.z.pc:{delete from`.u.w where handle=x}

/ The end of a day, by the clock or by a client: tell all, begin the next log. A second time it does nothing.
.u.end:{[d]
  if[d<.u.d;:()];
  {neg[x](`.u.end;y)}[;d]each exec distinct handle from .u.w;
  hclose .u.l;
  .u.open d+1}
.z.ts:{if[.u.d<.z.D;.u.end .u.d]}

.u.open .z.D
\t 1000
