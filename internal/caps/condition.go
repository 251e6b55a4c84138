package caps

import "fmt"

// Condition is something besides keys and actions that a driver asks of a rule or a flow, or does differently.
type Condition int

// The conditions. Those on rules come first, those on flows of a flowtable after NoIPv6NAT.
const (
	NeedsControl    Condition = iota + 1 // the rule must match an IP address
	NeedsBasic                           // the rule must match an ethertype or an L4 protocol
	NeedsEthertype                       // the rule must match an ethertype
	NeedsL4ForPorts                      // ports only beside TCP or UDP
	NeedsClassid                         // only as a steering rule to a traffic class (hw_tc)
	NeedsFlow                            // only whole flows with MAC addresses and a redirect, as flowtables make them
	ChainZeroOnly                        // no tc chains
	ChainZeroRefused
	ChainVCAP         // chains of the hardware's own numbers
	FullMasks         // every field whole
	NoPartialMAC      // a MAC address whole or not at all
	MACAlone          // a MAC address only without other keys
	DestinationMAC    // of the MAC addresses only the destination
	AddressesOrPorts  // IPv4 addresses or ports, not both
	NoMetaMatch       // META with a full ifindex mask only: `ether saddr`, which adds iiftype, is refused
	NoTTL             // of the IP key only TOS
	TOSOnIPv4         // and that on IPv4 only
	NoARP             // ARP is refused
	RedirectOwnSwitch // redirect and mirror only to ports of the same switch or NIC
	MirrorMatchall    // mirror only for everything (matchall)
	AcceptIsEmpty     // accept is taken and programs no action
	NoNFTCounter      // rules of nft get no counter in hardware
	NotWithNtuple     // refused while the ntuple feature is on
	NotWithRSS        // refused while RSS is on
	NeedsHWTC         // rules are refused while hw-tc-offload is off
	Ignored           // rules are accepted and nothing is done (a test driver)
	SwitchDriver      // keys are those of the driver of the DSA switch
	IndirectOnly      // only what a NIC below takes on its behalf (flow_indr)

	NoIPv6NAT     // flows
	NoGRE         //
	SoCPortsOnly  // the flow must leave by the same chip
	Only8021Q     // 802.1Q tags only
	TwoVLANs      // two tags at most
	ToConduit     // the flowtable's request is passed on to the conduit
	NeedsFDBPrios // needs firmware with FDB priorities
	XDPVaries     // which XDP features there are depends on configuration
)

// Conditions lists all conditions.
func Conditions() []Condition {
	var out []Condition
	for c := NeedsControl; c <= XDPVaries; c++ {
		out = append(out, c)
	}
	return out
}

// String names the condition.
func (c Condition) String() string {
	if s := c.info(); s[0] != "" {
		return s[0]
	}
	return fmt.Sprintf("Condition(%d)", int(c))
}

// Text says in half a sentence what the condition asks.
func (c Condition) Text() string { return c.info()[1] }

// info returns name and text.
func (c Condition) info() [2]string {
	if c.onFlows() {
		return c.flowInfo()
	}
	return c.ruleInfo()
}

func (c Condition) onFlows() bool { return c >= NoIPv6NAT }

func (c Condition) ruleInfo() [2]string {
	switch c {
	case NeedsControl:
		return [2]string{"needs-control", "the rule must match an IP address"}
	case NeedsBasic:
		return [2]string{"needs-basic", "the rule must match an ethertype or an L4 protocol"}
	case NeedsEthertype:
		return [2]string{"needs-ethertype", "the rule must match an ethertype"}
	case NeedsL4ForPorts:
		return [2]string{"needs-l4-for-ports", "ports only beside TCP or UDP"}
	case NeedsClassid:
		return [2]string{"needs-classid", "only steers to a traffic class (tc ... hw_tc), which nft does not say"}
	case NeedsFlow:
		return [2]string{"needs-flow", "takes whole flows with MAC addresses and a redirect, as flowtables make them"}
	case ChainZeroOnly:
		return [2]string{"chain0-only", "takes rules of tc chain 0 only"}
	case ChainZeroRefused:
		return [2]string{"chain0-refused", "refuses rules of tc chain 0, where nft's are"}
	case ChainVCAP:
		return [2]string{"chain-vcap", "chains carry the numbers of the hardware's tables"}
	case FullMasks:
		return [2]string{"full-masks", "every field whole, no prefixes"}
	case NoPartialMAC:
		return [2]string{"no-partial-mac", "a MAC address whole or not at all"}
	case MACAlone:
		return [2]string{"mac-alone", "MAC addresses only in rules that match nothing else"}
	case DestinationMAC:
		return [2]string{"destination-mac", "of the MAC addresses only the destination"}
	case AddressesOrPorts:
		return [2]string{"addresses-or-ports", "IPv4 addresses or ports, not both"}
	case NoMetaMatch:
		return [2]string{"no-iiftype", "refuses the iiftype match that nft puts before `ether saddr`"}
	case NoTTL:
		return [2]string{"no-ttl", "no match on TTL"}
	case TOSOnIPv4:
		return [2]string{"tos-on-ipv4", "TOS on IPv4 only"}
	case NoARP:
		return [2]string{"no-arp", "refuses rules for ARP"}
	case RedirectOwnSwitch:
		return [2]string{"redirect-own-switch", "redirects only to ports of the same switch or NIC"}
	case MirrorMatchall:
		return [2]string{"mirror-matchall", "mirrors only everything (tc matchall)"}
	default:
		return c.moreRuleInfo()
	}
}

func (c Condition) moreRuleInfo() [2]string {
	switch c {
	case AcceptIsEmpty:
		return [2]string{"accept-is-empty", "takes accept and programs no action"}
	case NoNFTCounter:
		return [2]string{"no-nft-counter", "rules of nft get no counter in hardware, those of tc do"}
	case NotWithNtuple:
		return [2]string{"not-with-ntuple", "refused while the ntuple feature is on"}
	case NotWithRSS:
		return [2]string{"not-with-rss", "refused while RSS is on"}
	case NeedsHWTC:
		return [2]string{"needs-hw-tc-offload", "refuses rules while hw-tc-offload is off"}
	case Ignored:
		return [2]string{"ignored", "accepts every rule and does nothing with it"}
	case SwitchDriver:
		return [2]string{"switch-driver", "depends on the driver of the switch"}
	case IndirectOnly:
		return [2]string{"indirect-only", "only what a NIC below takes on its behalf"}
	default:
		return [2]string{}
	}
}

func (c Condition) flowInfo() [2]string {
	switch c {
	case NoIPv6NAT:
		return [2]string{"no-ipv6-nat", "refuses flows with IPv6 NAT"}
	case NoGRE:
		return [2]string{"no-gre", "refuses flows without ports (GRE)"}
	case SoCPortsOnly:
		return [2]string{"soc-ports-only", "the flow must leave by a port of the same chip"}
	case Only8021Q:
		return [2]string{"802.1q-only", "no 802.1ad tags"}
	case TwoVLANs:
		return [2]string{"two-vlans", "two VLAN tags and one PPPoE session at most"}
	case ToConduit:
		return [2]string{"to-conduit", "the conduit below decides about flowtables"}
	case NeedsFDBPrios:
		return [2]string{"needs-fdb-prios", "flowtables need firmware with FDB priorities"}
	case XDPVaries:
		return [2]string{"xdp-varies", "which XDP features there are depends on firmware, queues or the peer"}
	default:
		return [2]string{}
	}
}
