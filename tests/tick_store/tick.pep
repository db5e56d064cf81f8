// A tickerplant and real-time database for the tests, for an IPC-compatible test server: the names and messages of
// kdb+tick as far as this language has them. A q script would not run here, and this one would not run in q.
trade: ([] time: `timestamp$(); sym: `cat$(); price: `f64$(); size: `i64$());
quote: ([] time: `timestamp$(); sym: `cat$(); bid: `f64$(); ask: `f64$());
kinds: ([] b: `bool$(); h: `i16$(); i: `i32$(); j: `i64$(); e: `f32$(); f: `f64$(); s: `cat$(); p: `timestamp$(); d: `date$(); n: `duration$());
wavg: {[w; x] sum[w*x]/sum[w]};
.u.t: `trade`quote;
tables: {[] .u.t};
.u.w: ([] name: `cat$(); handle: `i64$());
.u.sub: {[t; s] upsert[`.u.w; ([] name: enlist t; handle: enlist this.h)]; $[t=`; .u.t; (t; 0#eval t)]};
.u.handles: {[t] all: `; (select handle from .u.w where (name=t)|(name=all))[`handle]};
// who has gone does not stop the feed
.u.send: {[m; h] try[.handle.reply[h; m]] catch[0]};
.u.upd: {[t; x]
  rows: flip (cols (eval t))!x;
  upsert[t; rows];
  .u.send[(`upd; t; rows)] each .u.handles t;
  t};
.u.end: {[d] .u.send[(`.u.end; d)] each .u.w[`handle]; d};
ready: 1b;
