package nft

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// The lowered form of
//
//	MATCH flow add @f REST
//
// is, with N a conntrack label bit of this rule alone:
//
//	iifname @f ct label N jump nft_offload_pass	(1)
//	MATCH jump nft_offload_add_N			(2)
//
//	chain nft_offload_add_N {
//		return unless the kernel's `flow add` would take the packet's flow
//		ct label set N ct label N REST		(3)
//	}
//	chain nft_offload_pass {
//		return unless a flowtable would have carried the packet
//		accept
//	}
//
// (1) stands in front of (2): the packet that takes the flow goes on behind REST, as in the kernel; the next ones are
// accepted and see neither MATCH, whose counters and limits run as often as with a flowtable, nor anything after it.
// The bit belongs to one rule, so that (1) of another `flow add` of the same flowtable does not accept that packet.
// (3) reads the label back because setting it fails without a word on connections that have no room for labels; then
// REST is skipped, as behind a `flow add` that fails.
//
// REST may hold a verdict that means something else in another chain (return, goto, a verdict map). Then (3) ends
// behind the label, and one more rule with a second bit M runs REST in its own chain, once:
//
//	ct label N ct label & M != M ct label set M REST	(4)
//
// Only the packet that has just been labelled can meet (4) with N set and M not, since (4) follows (2).

// marker is how a lowered rule knows a taken flow: by a label, or by the mark bit.
type marker struct {
	label int
	mark  uint32 // not 0: used in place of the label
}

func (m marker) isSet() string {
	if m.mark != 0 {
		return fmt.Sprintf("ct mark & 0x%08x == 0x%08x", m.mark, m.mark)
	}
	return fmt.Sprintf("ct label %d", m.label)
}

func (m marker) set() string {
	if m.mark != 0 {
		return fmt.Sprintf("ct mark set ct mark | 0x%08x", m.mark)
	}
	return fmt.Sprintf("ct label set %d", m.label)
}

// chain names the chain of a `flow add` rule. Label bits are unique in a network namespace and name it; with a mark
// the rule's own text does: a second load of the same file must meet the same chain, another file another one.
func (m marker) chain(rule string) string {
	if m.mark == 0 {
		return fmt.Sprintf("%s%d", handover.AddChain, m.label)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(rule)) // never fails
	return fmt.Sprintf("%s%08x", handover.AddChain, h.Sum32())
}

// passRule is rule (1).
func passRule(flowtable string, m marker) string {
	return fmt.Sprintf("iifname @%s %s jump %s", flowtable, m.isSet(), handover.PassChain)
}

// restRule is rule (4).
func restRule(m marker, second int, rest string) string {
	return fmt.Sprintf("%s ct label & %d != %d ct label set %d %s", m.isSet(), second, second, second, rest)
}

// addRules are the rules of nft_offload_add_N. Conditions as in nft_flow_offload_eval (net/netfilter/nft_flow_offload.c),
// in its order. They are written as reasons to return; nft 1.0.6 cannot write "label & mask == 0" in one match (it
// takes the 0 for label 0), and a match on a connection's helper fails where there is none.
func addRules(family string, taken string, m marker, rest string) []string {
	var r []string
	if family != "ip6" {
		r = append(r, "ip hdrlength != 5 return") // options
	}
	return append(r,
		"meta l4proto != { tcp, udp } return",
		"tcp flags fin,rst return",
		"meta l4proto tcp ct status ! assured return",
		`ct helper != "none" return`,
		"ct status 0x40,0x1000 return", // IPS_SEQ_ADJUST, IPS_NAT_CLASH (nf_conntrack_common.h)
		"ct status ! confirmed return",
		taken+" return",
		strings.TrimSpace(m.set()+" "+m.isSet()+" "+rest),
	)
}

// passRules are the rules of nft_offload_pass: what nf_flow_offload_ip_hook and its IPv6 twin leave to the slow path
// (net/netfilter/nf_flow_table_ip.c). TTL or hop limit need no test: the forward hook comes behind it
// (net/ipv4/ip_forward.c, net/ipv6/ip6_output.c), with the field already one less.
func passRules(family string) []string {
	var r []string
	if family != "ip6" {
		r = append(r, "ip hdrlength != 5 return", "ip frag-off & 0x3fff != 0 return") // options; MF or an offset
	}
	if family != "ip" {
		r = append(r, "ip6 nexthdr != { tcp, udp } return") // extension headers, the fragment header among them
	}
	return append(r, "tcp flags fin,rst return", "meta l4proto { tcp, udp } accept")
}

// takenMatch matches a flow that any of the rules has taken.
func takenMatch(labels handover.Labels, m marker) string {
	if m.mark != 0 {
		return m.isSet()
	}
	return "ct label " + labels.String()
}

// chainBlock renders a chain inside a table block.
func chainBlock(head string, rules []string) string {
	return head + " {\n\t\t" + strings.Join(rules, "\n\t\t") + "\n\t}\n"
}

// comment is the comment of the set that stands for the flowtable.
func (f Flowtable) comment() string {
	c := handover.LoweredComment
	if f.Priority != "" {
		c += "; priority=" + f.Priority
	}
	if len(f.Flags) > 0 {
		c += "; flags=" + strings.Join(f.Flags, ",")
	}
	return c
}
