package soak

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// overruns stops the daemon with SIGSTOP while more happens than its sockets can hold, and lets it go on.
func overruns() row {
	return row{
		name:   "notifications lost (ENOBUFS)",
		plan:   plan{each: 3},
		script: overrun,
		short:  form{times: 1, pairs: 1},
		full:   form{times: 5, pairs: 1},
		what:   "SIGSTOP to the daemon while 60,000 routes, 4,000 neighbours, 500 devices, 14,000 nf_tables transactions and 400,000 elements of a set come and go, and SIGCONT.",
		lost:   "nothing",
		proves: "each of the daemon's sockets with notifications overran; it starts a generation, reads all anew, and sees the next change at once",
	}
}

// How much happens meanwhile. The daemon's sockets have room for 16 MiB of rtnetlink, 32 MiB of nf_tables (the kernel doubles
// both) and the default of generic netlink. A notification takes somewhat less than a KiB of it, an element about 130 bytes
// each time it comes or goes.
const (
	stormRoutes       = 60_000
	stormNeighbours   = 2_000
	stormDevices      = 250 // pairs
	stormTransactions = 14_000
	stormElements     = 100_000
	stormFills        = 4 // of a set with these elements
)

// extra is a device that appears during the storm and belongs to the flowtable from then on.
const extra = "x0"

func overrun(b *bed, times int) {
	for range times {
		b.overrunOnce()
	}
	b.talkOn(2)
	b.carried()
	b.unproblematic()
}

func (b *bed) overrunOnce() {
	b.t.Helper()
	generations := uint64(0)
	dropped := map[string]int{}
	if b.d != nil {
		generations, dropped = b.d.Status().Generations.Count, b.drops()
		b.signal(unix.SIGSTOP)
	}
	b.storm()
	b.r.Router.Run("ip", "link", "add", extra, "type", "veth", "peer", "name", extra+"p")
	b.r.Router.Run("ip", "link", "set", extra, "up")
	b.r.Router.Run("nft", "add", "element", "inet", "filter", "f1", "{", extra, "}")
	b.talkOn(2)
	if b.d != nil {
		for family, before := range dropped {
			if after := b.drops()[family]; after == before {
				b.t.Errorf("the %s socket dropped nothing", family)
			}
		}
		b.signal(unix.SIGCONT)
	}
	b.hooked(b.r.R0.Name, b.r.R1.Name, extra)
	if b.d != nil {
		if got := b.d.Status().Generations.Count; got == generations {
			b.t.Error("no generation was started")
		}
	}
	// And it hears again: of rules, of devices.
	b.cut(inForce)
	b.hooked(b.r.R0.Name, b.r.R1.Name) // cut loads the ruleset as it was
	b.r.Router.Run("ip", "link", "del", extra)
	b.talkOn(2)
}

func (b *bed) signal(s unix.Signal) {
	b.t.Helper()
	if err := unix.Kill(b.d.PID(), s); err != nil {
		b.t.Fatal(err)
	}
}

// storm makes and unmakes routes, neighbours, devices and tables.
func (b *bed) storm() {
	b.t.Helper()
	var text strings.Builder
	for i := range stormRoutes {
		fmt.Fprintf(&text, "route add 10.%d.%d.%d/32 dev r0 table 99\n", 100+i>>16, i>>8&255, i&255)
	}
	for i := range stormNeighbours {
		fmt.Fprintf(&text, "neigh add 10.99.%d.%d lladdr 02:00:00:00:%02x:%02x dev r0\n", i>>8, i&255, i>>8, i&255)
	}
	for i := range stormNeighbours {
		fmt.Fprintf(&text, "neigh del 10.99.%d.%d dev r0\n", i>>8, i&255)
	}
	for i := range stormDevices {
		fmt.Fprintf(&text, "link add d%d group 99 type veth peer name p%d\n", i, i)
	}
	text.WriteString("route flush table 99\nlink del group 99\n")
	if _, err := b.r.Router.Pipe(text.String(), "ip", "-batch", "-"); err != nil {
		b.t.Fatal(err)
	}
	if err := b.r.Router.Do(func() error { return transactions(stormTransactions) }); err != nil {
		b.t.Fatal(err)
	}
	b.elements()
}

// elements fills a set of nobody's, and empties it, again and again.
func (b *bed) elements() {
	b.t.Helper()
	var text strings.Builder
	text.WriteString("add table ip storm\nadd set ip storm s { type ipv4_addr; }\nadd element ip storm s {\n")
	for i := range stormElements {
		fmt.Fprintf(&text, "10.%d.%d.%d,\n", i>>16, i>>8&255, i&255)
	}
	text.WriteString("}\n")
	for range stormFills {
		if _, err := b.r.Router.Pipe(text.String(), "nft", "-f", "-"); err != nil {
			b.t.Fatal(err)
		}
		b.r.Router.Run("nft", "flush", "set", "ip", "storm", "s")
	}
	b.r.Router.Run("nft", "delete", "table", "ip", "storm")
}

// drops says how many notifications the kernel could not give the daemon, by netlink family.
func (b *bed) drops() map[string]int {
	b.t.Helper()
	proc := fmt.Sprintf("/proc/%d", b.d.PID())
	table, err := os.ReadFile(filepath.Join(proc, "net/netlink"))
	if err != nil {
		b.t.Fatal(err)
	}
	sockets := b.sockets(proc)
	families := map[int]string{unix.NETLINK_ROUTE: "rtnetlink", unix.NETLINK_NETFILTER: "nf_tables", unix.NETLINK_GENERIC: "generic netlink"}
	out := map[string]int{}
	for line := range strings.Lines(string(table)) {
		var sk, groups string
		var family, port, rmem, wmem, dump, locks, drops int
		var inode uint64
		n, _ := fmt.Sscan(line, &sk, &family, &port, &groups, &rmem, &wmem, &dump, &locks, &drops, &inode) // the heading: 1
		if n == 10 && sockets[inode] && families[family] != "" {
			out[families[family]] += drops
		}
	}
	if len(out) != len(families) {
		b.t.Fatalf("sockets of the daemon: %v, in\n%s", out, table)
	}
	return out
}

// sockets are the inodes of a process's sockets.
func (b *bed) sockets(proc string) map[uint64]bool {
	b.t.Helper()
	links, err := filepath.Glob(filepath.Join(proc, "fd/*"))
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[uint64]bool{}
	for _, l := range links {
		var inode uint64
		if to, err := os.Readlink(l); err == nil {
			if n, _ := fmt.Sscanf(to, "socket:[%d]", &inode); n == 1 {
				out[inode] = true
			}
		}
	}
	return out
}
