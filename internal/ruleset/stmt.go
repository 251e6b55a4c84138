package ruleset

// Stmt is a statement of a rule. One of the types of this file, Verdict or Opaque.
type Stmt interface{ isStmt() }

// Match compares; evaluation of the rule goes on when it holds.
type Match struct {
	Op    string // "==", "!=", "<", ">", "<=", ">=", "in": some bit or element of Right (implicit), "!": no bit of it
	Left  Expr
	Right Expr
}

// Counter counts packets and bytes; with a Ref it names a counter object, or looks one up.
type Counter struct {
	Packets, Bytes uint64
	Ref            Expr // Str: name; Map: lookup; nil: a counter of its own
}

// Quota matches (`quota until`) or its opposite (`over`), by bytes used so far.
type Quota struct {
	Val      uint64
	ValUnit  string
	Used     uint64
	UsedUnit string
	Inv      bool // over
	Ref      Expr
}

// Limit matches up to a rate, or above it.
type Limit struct {
	Rate      uint64
	RateUnit  string // "packets", "bytes", "kbytes", "mbytes"; empty: packets
	Per       string // "second", ...
	Burst     uint64
	BurstUnit string
	Inv       bool // over
	Ref       Expr
}

// Mangle writes a header field or meta data, `meta mark set 1`.
type Mangle struct{ Key, Value Expr }

// Fwd sends the packet out of a device (netdev family).
type Fwd struct {
	Dev    Expr
	Family string
	Addr   Expr
}

// Dup sends a copy.
type Dup struct{ Addr, Dev Expr }

// NAT is snat, dnat, masquerade or redirect.
type NAT struct {
	Kind      string
	Addr      Expr // nil: none
	Port      Expr
	Family    string   // "ip", "ip6" or empty
	Flags     []string // "random", "fully-random", "persistent"
	TypeFlags []string // "prefix", "interval", "concat"
	Extra     Extra
}

// Reject answers with an error and drops.
type Reject struct {
	Type  string // "tcp reset", "icmp", "icmpv6", "icmpx"; empty: the default
	Expr  Expr   // code
	Extra Extra
}

// SetUpdate changes a set, or a map when Data is not nil.
type SetUpdate struct {
	Op    string // "add", "update", "delete"
	Set   SetRef
	Elem  Expr
	Data  Expr
	Stmts []Stmt
}

// Meter runs statements, one state for each key (older form of SetUpdate with Stmts). Evaluation goes on when they match.
type Meter struct {
	Name  string
	Key   Expr
	Stmts []Stmt
	Size  uint64
}

// VMap looks a verdict up.
type VMap struct{ Key, Data Expr }

// CTCount matches up to a number of connections, or above it.
type CTCount struct {
	Val uint64
	Inv bool
}

// FlowAdd hands the flow to a flowtable.
type FlowAdd struct {
	Op        string // "add"
	Flowtable string // without the "@"
}

// SetObject assigns a conntrack object: ct helper, ct timeout, ct expectation, or secmark, tunnel.
type SetObject struct {
	Kind  string // as in the JSON: "ct helper", ...
	Value Expr
}

// Queue hands packets to a program.
type Queue struct {
	Num   Expr // nil: queue 0
	Flags []string
	Extra Extra
}

// XT is a match or a target of iptables. What it does is not known; nft prints its name at most.
type XT struct {
	Type  string // "match", "target", "watcher"; empty before nft 1.0.8
	Name  string
	Extra Extra
}

// Action is a statement whose details nobody here looks at: log, notrack, tproxy, synproxy, last, reset.
// tproxy and synproxy decide about the packet. The Fields of reset are one, with an empty name: the option it removes.
type Action struct {
	Kind   string
	Fields Extra // nil where the JSON has null
}

func (Match) isStmt()     {}
func (Counter) isStmt()   {}
func (Quota) isStmt()     {}
func (Limit) isStmt()     {}
func (Mangle) isStmt()    {}
func (Fwd) isStmt()       {}
func (Dup) isStmt()       {}
func (NAT) isStmt()       {}
func (Reject) isStmt()    {}
func (SetUpdate) isStmt() {}
func (Meter) isStmt()     {}
func (VMap) isStmt()      {}
func (XT) isStmt()        {}
func (CTCount) isStmt()   {}
func (FlowAdd) isStmt()   {}
func (SetObject) isStmt() {}
func (Queue) isStmt()     {}
func (Action) isStmt()    {}
func (Verdict) isStmt()   {}
func (Opaque) isStmt()    {}
