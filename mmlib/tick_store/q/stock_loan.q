/ The desk's eleven tables from a folder of CSV files, splayed into another.  q stock_loan.q CSVFOLDER [SPLAYED] -p 5013
/ Not run here: this project has no q; see README.txt. mmlib.stock_loan.sources.open("kdb://HOST:5013") reads them.
.loan.csv:{hsym`$first[.z.x],"/",string[x],".csv"}
securities:("SSSSJJ";enlist",")0:.loan.csv`securities
closes:("DSFF";enlist",")0:.loan.csv`closes
rates:("DFF";enlist",")0:.loan.csv`rates
clients:("SSFFF";enlist",")0:.loan.csv`clients
debits:("DSF";enlist",")0:.loan.csv`debits
pools:("SSJSF";enlist",")0:.loan.csv`pools
eligibility:("SS";enlist",")0:.loan.csv`eligibility
inventory:("DSSJF";enlist",")0:.loan.csv`inventory
positions:("DSSSSJ";enlist",")0:.loan.csv`positions
loans:("DSSSSSJFFF";enlist",")0:.loan.csv`loans
locates:("DSSSJJJJF";enlist",")0:.loan.csv`locates

/ A folder a table, a file a column, symbols enumerated in one file sym; later: \l SPLAYED
.loan.splay:{[dir;t](` sv dir,t,`)set .Q.en[dir;value t]}
if[1<count .z.x;.loan.splay[hsym`$.z.x 1]each tables`.]
