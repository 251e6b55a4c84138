package nft

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Messages of Linux 6.3 that x/sys does not have (enum nf_tables_msg_types).
const (
	destroySet     = 29 // NFT_MSG_DESTROYSET
	destroySetElem = 30 // NFT_MSG_DESTROYSETELEM
)

// The first attribute of every notification but NEWGEN is the table's name, and the second of those about sets and
// elements is the set's (NFTA_TABLE_NAME, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_SET, ...).
const (
	attrTable = 1
	attrSet   = 2
)

// gathered is what is known of a transaction that is being notified. The kernel sends what it changed, in order, and
// NFT_MSG_NEWGEN behind it (nf_tables_commit, net/netfilter/nf_tables_api.c).
type gathered struct {
	wanted func(element.SetID) bool
	// highest asks for the highest handle of a table; math.MaxUint64, after which no table is taken for new, where that
	// cannot be found out.
	highest func() uint64
	// newest is at least as high as the handle of any table that was there before what comes next. The kernel gives a
	// new one a higher handle than all before (nf_tables_newtable).
	newest uint64
	// generation is that of the last transaction; 0: not known.
	generation uint32

	tables []TableID
	// fresh are those of tables that the transaction made.
	fresh []TableID
	sets  []*history
	// What the last notification was about: most in a row are about the same.
	table recent
	set   recent
	last  *history

	// ingress are those of tables that were given what packets come to before all other chains.
	ingress []TableID
}

// recent is the family and names that something had.
type recent struct {
	family      uint8
	table, name []byte
}

func (r *recent) is(family uint8, table, name []byte) bool {
	return r.table != nil && r.family == family && bytes.Equal(r.name, name) && bytes.Equal(r.table, table)
}

// history is what a transaction did to the elements of a set.
type history struct {
	set        element.SetID
	wanted     bool
	made, gone bool // of a set that is known to be new, or was deleted
	points     bool // of a set that was made
	// Mostly all elements are added, or all are deleted: then steps has them. Else the last step of each counts.
	steps   element.List
	deleted bool
	last    map[string]step
}

type step struct {
	element element.Element
	deleted bool
}

// newGathered is to be called when notifications come already: what highest knows must not be older.
func newGathered(wanted func(element.SetID) bool, highest func() uint64) *gathered {
	return &gathered{wanted: wanted, highest: highest, newest: highest()}
}

// forget is for when notifications are missing: tables may have been made.
func (g *gathered) forget() {
	g.next(0)
	g.refresh()
}

// refresh is for tables that nothing was heard of.
func (g *gathered) refresh() { g.newest = max(g.newest, g.highest()) }

// next begins another transaction.
func (g *gathered) next(generation uint32) {
	*g = gathered{wanted: g.wanted, highest: g.highest, newest: g.newest, generation: generation}
}

// follows reports whether no transaction is missing before one. The kernel leaves 0 out (nf_tables_commit).
func (g *gathered) follows(generation uint32) bool {
	return g.generation == 0 || generation == 0 || generation == max(g.generation+1, 1)
}

// datagram takes a datagram and returns the transactions that it completes: mostly none or one.
func (g *gathered) datagram(b []byte, now time.Time) []Commit {
	var out []Commit
	for h, body := range messages(b) {
		if h.kind>>8 != unix.NFNL_SUBSYS_NFTABLES || len(body) < nfgenLen {
			continue
		}
		family, rest := body[0], body[nfgenLen:]
		switch msg := h.kind & 0xff; msg {
		case unix.NFT_MSG_NEWGEN:
			c, follows := g.finish(rest)
			if !follows {
				c = Commit{Lost: true} // what was gathered may be half of it
				g.refresh()
			}
			out = append(out, c)
		case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM, destroySetElem:
			g.elements(family, rest, msg != unix.NFT_MSG_NEWSETELEM, now)
		case unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET, destroySet:
			g.object(family, rest)
			h := g.history(family, rest)
			switch {
			case msg != unix.NFT_MSG_NEWSET:
				*h = history{set: h.set, wanted: h.wanted, gone: true}
			case g.isNew(h):
				*h = history{set: h.set, wanted: h.wanted, made: true, points: splits(setFlags(rest))}
			}
		default:
			g.object(family, rest)
			if msg == unix.NFT_MSG_NEWTABLE {
				g.tableIs(family, rest)
			}
			if msg == unix.NFT_MSG_NEWFLOWTABLE || msg == unix.NFT_MSG_NEWCHAIN && atIngress(rest) {
				g.comesFirst(family)
			}
		}
	}
	return out
}

// isNew reports whether a set that NEWSET is about is known to be new. From Linux 6.2 on, and in stable kernels before,
// the kernel sends it for a set that is declared again too (nf_tables_newset), which keeps its elements. A new set in a
// table that is not cannot be told from that, unless the transaction has deleted the one before.
func (g *gathered) isNew(h *history) bool {
	return h.gone || !h.made && slices.ContainsFunc(g.fresh, func(t TableID) bool {
		return t.Family == h.set.Family && t.Name == h.set.Table
	})
}

// tableIs notes whether the table of the last object is new: NEWTABLE is sent for changed flags too.
func (g *gathered) tableIs(family uint8, table []byte) {
	for kind, v := range attrs(table) {
		if handle := beUint64(v); kind == tableHandle && handle > g.newest {
			g.newest = handle
			g.fresh = append(g.fresh, TableID{ruleset.Family(familyName(family)), string(g.table.table)})
		}
	}
}

// comesFirst notes that the table of the last object has something at ingress.
func (g *gathered) comesFirst(family uint8) {
	id := TableID{ruleset.Family(familyName(family)), string(g.table.table)}
	if !slices.Contains(g.ingress, id) {
		g.ingress = append(g.ingress, id)
	}
}

// Where a base chain is (include/uapi/linux/netfilter.h): the hooks of IP packets come before the one of ingress. A
// netdev chain has numbers of its own.
const firstNotIP = 5 // NF_INET_INGRESS

// atIngress reports whether a chain may be at ingress.
func atIngress(chain []byte) bool {
	for kind, v := range attrs(chain) {
		if kind != unix.NFTA_CHAIN_HOOK {
			continue
		}
		for kind, v := range attrs(v) {
			if kind == unix.NFTA_HOOK_HOOKNUM {
				return beUint32(v) >= firstNotIP
			}
		}
		return true
	}
	return false
}

// object notes the table of a rule, a chain, a set or whatever else was made or deleted.
func (g *gathered) object(family uint8, b []byte) {
	table, _ := objectNames(b)
	if g.table.is(family, table, nil) {
		return
	}
	id := TableID{ruleset.Family(familyName(family)), string(table)}
	g.table = recent{family, []byte(id.Name), nil}
	if !slices.Contains(g.tables, id) {
		g.tables = append(g.tables, id)
	}
}

// elements notes elements of a set that somebody wants.
func (g *gathered) elements(family uint8, b []byte, deleted bool, now time.Time) {
	h := g.history(family, b)
	if !h.wanted {
		return
	}
	eachElement(b, func(attrs []byte) {
		h.step(decodeElement(attrs, now), deleted)
	})
}

// objectNames are the first two names of a notification, in place.
func objectNames(b []byte) (table, name []byte) {
	for kind, v := range attrs(b) {
		switch kind {
		case attrTable:
			table = text(v)
		case attrSet:
			return table, text(v)
		}
	}
	return table, nil
}

// history is that of the set that a notification names.
func (g *gathered) history(family uint8, b []byte) *history {
	table, name := objectNames(b)
	if g.set.is(family, table, name) {
		return g.last
	}
	id := element.SetID{Family: ruleset.Family(familyName(family)), Table: string(table), Name: string(name)}
	at := slices.IndexFunc(g.sets, func(h *history) bool { return h.set == id })
	if at < 0 {
		at = len(g.sets)
		g.sets = append(g.sets, &history{set: id, wanted: g.wanted(id)})
	}
	g.set, g.last = recent{family, []byte(id.Table), []byte(id.Name)}, g.sets[at]
	return g.last
}

// finish makes the commit of what was gathered, with the attributes of NEWGEN, and reports whether it follows the last.
func (g *gathered) finish(gen []byte) (c Commit, follows bool) {
	c.Tables = g.tables
	for kind, v := range attrs(gen) {
		switch kind {
		case unix.NFTA_GEN_ID:
			c.Generation = beUint32(v)
		case unix.NFTA_GEN_PROC_NAME:
			c.Process = string(text(v))
		}
	}
	c.Ingress = g.ingress
	for _, h := range g.sets {
		if h.wanted {
			c.Changes = append(c.Changes, h.change())
		}
	}
	follows = g.follows(c.Generation)
	g.next(c.Generation)
	return c, follows
}

// step notes that an element was added or deleted.
func (h *history) step(e element.Element, deleted bool) {
	if h.last == nil && h.steps.Len() == 0 {
		h.deleted = deleted
	}
	if h.last == nil && deleted == h.deleted {
		h.steps.Add(e)
		return
	}
	if h.last == nil {
		h.last = map[string]step{}
		for e := range h.steps.All() {
			h.last[identity(e)] = step{e, h.deleted}
		}
	}
	e.First, e.Last = bytes.Clone(e.First), bytes.Clone(e.Last)
	h.last[identity(e)] = step{e, deleted}
}

// change is the net effect of a transaction's steps.
func (h *history) change() element.Change {
	c := element.Change{Set: h.set, Made: h.made, Points: h.points, Gone: h.gone}
	switch {
	case h.last == nil && h.deleted:
		c.Deleted = h.steps
	case h.last == nil:
		c.Added = h.steps
	}
	for _, key := range slices.Sorted(maps.Keys(h.last)) {
		if s := h.last[key]; s.deleted {
			c.Deleted.Add(s.element)
		} else {
			c.Added.Add(s.element)
		}
	}
	return c
}

// identity tells the elements of a set apart.
func identity(e element.Element) string {
	last := e.Last
	if last == nil {
		last = e.First
	}
	b := append(slices.Clone(e.First), last...)
	if e.End {
		b = append(b, 1)
	}
	return string(b)
}
