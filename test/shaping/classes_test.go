package shaping

import (
	"fmt"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// twoClasses is htb with a class for voice, one for bulk and one for the rest; nothing is dropped at the rates here.
const twoClasses = `
qdisc add dev r1 root handle 1: htb default 30
class add dev r1 parent 1: classid 1:1 htb rate 100mbit quantum 1514
class add dev r1 parent 1:1 classid 1:10 htb rate 20mbit ceil 100mbit prio 0 quantum 1514
class add dev r1 parent 1:1 classid 1:20 htb rate 70mbit ceil 100mbit prio 1 quantum 1514
class add dev r1 parent 1:1 classid 1:30 htb rate 10mbit ceil 100mbit prio 2 quantum 1514
`

// classifier is one way to say which class a packet belongs to.
type classifier struct {
	name     string
	classify string // rules in front of `flow add`
	late     string // rules of a postrouting chain
	tc       string // the qdisc, with classes 1:10 for voice, 1:20 for bulk and 1:30 for the rest, and its filters
	// read reads the counters of these three; nil where they are classes of the kernel.
	read func(*testing.T, *testkit.Router) map[string]counters
}

// markFilter is a classic BPF program for the bpf classifier: mark m (SKF_AD_OFF + SKF_AD_MARK) is a match.
const markFilter = `filter add dev r1 parent 1: protocol all pref %d bpf bytecode "4,32 0 0 4294963220,21 0 1 %d,6 0 0 4294967295,6 0 0 0" classid %s`

// Rules that say the class by skb->priority, and by a mark.
func priorities() string {
	return fmt.Sprintf("\t\toifname r1 udp dport %d meta priority set 1:10\n\t\toifname r1 udp dport %d meta priority set 1:20", voicePort, bulkPort)
}

func marks() string {
	return fmt.Sprintf("\t\toifname r1 udp dport %d meta mark set 7\n\t\toifname r1 udp dport %d meta mark set 8", voicePort, bulkPort)
}

func classifiers() []classifier {
	byMark := twoClasses + fmt.Sprintf(markFilter+"\n"+markFilter, 1, 7, "1:10", 2, 8, "1:20")
	return []classifier{
		{name: "priority, forward", classify: priorities(), tc: twoClasses},
		{name: "priority, postrouting", late: priorities(), tc: twoClasses},
		{name: "mark, forward", classify: marks(), tc: byMark},
		{name: "mark, postrouting", late: marks(), tc: byMark},
		{name: "ports", tc: twoClasses + fmt.Sprintf(`
filter add dev r1 parent 1: protocol ip pref 1 u32 match ip protocol 17 0xff match ip dport %d 0xffff classid 1:10
filter add dev r1 parent 1: protocol ip pref 2 u32 match ip protocol 17 0xff match ip dport %d 0xffff classid 1:20
filter add dev r1 parent 1: protocol ipv6 pref 3 u32 match ip6 protocol 17 0xff match ip6 dport %[1]d 0xffff classid 1:10
filter add dev r1 parent 1: protocol ipv6 pref 4 u32 match ip6 protocol 17 0xff match ip6 dport %[2]d 0xffff classid 1:20
`, voicePort, bulkPort)},
	}
}

// TestFlowsStayInTheirClasses: every packet of two flows is counted in the class that the rules give it, slow or fast.
func TestFlowsStayInTheirClasses(t *testing.T) {
	for _, hook := range []engine.Hook{engine.TC, engine.XDP} {
		for _, c := range classifiers() {
			t.Run(string(hook)+"/"+c.name, func(t *testing.T) { t.Parallel(); keepsClasses(t, hook, c) })
		}
	}
}

func keepsClasses(t *testing.T, hook engine.Hook, c classifier) {
	t.Helper()
	r := shaped(t, options{
		RouterOptions: testkit.RouterOptions{XDP: hook == engine.XDP, NoChecksumOffload: true},
		tc:            c.tc, classify: c.classify,
	})
	if c.late != "" {
		r.Router.NFTables("table inet late {\n chain c {\n type filter hook postrouting priority mangle; policy accept;\n" + c.late + "\n }\n}\n")
	}
	d := start(t, r, hook)
	read := c.read
	if read == nil {
		read = classes
	}
	before := read(t, r)
	var sent [2]uint64
	for _, f := range []struct {
		six  bool
		port uint16
	}{{false, voicePort}, {true, voicePort}, {false, bulkPort}} {
		udp := testkit.OpenUDP(t, r.Path(f.six, f.port), testkit.UDPOptions{Size: 200})
		settled(t, d, udp)
		established := d.Status()
		unharmed(t, udp.Exchange(500, 500, time.Second))
		if s := share(established, d.Status()); s < minShare {
			t.Errorf("%+v: %.1f %% of the packets were fast: %+v", f, 100*s, d.Status().Stats)
		}
		sent[f.port-voicePort] += udp.Stats().Sent
		udp.Close()
	}
	after := read(t, r)
	for i, class := range []string{"1:10", "1:20"} {
		if got := after[class].since(before[class]).Packets; got != sent[i] {
			t.Errorf("class %s has %d packets of the %d sent: %v", class, got, sent[i], after)
		}
	}
	if got := after["1:30"].since(before["1:30"]).Packets; got > others {
		t.Errorf("the default class has %d packets: %v", got, after)
	}
}
