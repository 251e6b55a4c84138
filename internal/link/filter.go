package link

import (
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Filter is a program or classifier that somebody else put on a device's tc hooks, which a packet that the datapath
// redirects does not pass; or one of an egress qdisc that chooses the class of a packet by its route, which such a packet
// does not have.
type Filter struct {
	Egress bool
	Qdisc  uint32 // handle of the egress qdisc that the filter belongs to; 0 for one on a hook
	TCX    bool   // attached by bpf(2), without a qdisc (since Linux 6.6)
	Pref   uint16 // preference of a clsact filter
	Handle uint32 // of a clsact filter; 0 for one whose kind has none
	Kind   string // "bpf", "u32", "flower", ...; "tcx" for TCX
	Name   string // program name, where there is one
	// Action and To: where the filter sends packets, "redirect" or "mirror", and to which ifindex; empty for
	// filters that do something else. ToName is that device's name.
	Action string
	To     uint32
	ToName string

	byRoute bool // it looks at the route of a packet
}

// String renders the filter as tc(8) would be asked for it, and where it sends packets.
func (f Filter) String() string {
	hook := "ingress"
	if f.Egress {
		hook = "egress"
	}
	if f.TCX {
		return fmt.Sprintf("tcx %s program %s", hook, f.Name)
	}
	if f.Qdisc != 0 {
		hook = fmt.Sprintf("of qdisc %x:", f.Qdisc>>16)
	}
	s := fmt.Sprintf("tc filter %s pref %d ", hook, f.Pref)
	if f.Handle != 0 {
		s += "handle " + f.handle() + " "
	}
	s += f.Kind
	if f.Name != "" {
		s += " " + f.Name
	}
	if f.Action != "" {
		s += fmt.Sprintf(" (mirred %s to %s)", f.Action, f.ToName)
	}
	return s
}

// handle renders the handle as tc(8) does: that of u32 has three parts (TC_U32_HTID and so on, pkt_cls.h).
func (f Filter) handle() string {
	if f.Kind != "u32" {
		return fmt.Sprintf("%#x", f.Handle)
	}
	part := func(n uint32) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%x", n)
	}
	return part(f.Handle>>20) + ":" + part(f.Handle>>12&0xff) + ":" + part(f.Handle&0xfff)
}

// Filters that carry our mark: attached by the datapath.
const (
	OurPrefFirst = 49000 // inclusive
	OurPrefLast  = 49015 // inclusive
	OurPrefix    = "nfo_"
)

func (f Filter) ours() bool {
	return ourProgram(f.Name) || !f.TCX && f.Qdisc == 0 && f.Pref >= OurPrefFirst && f.Pref <= OurPrefLast
}

func ourProgram(name string) bool {
	return len(name) > len(OurPrefix) && name[:len(OurPrefix)] == OurPrefix
}

// readFilters lists the foreign filters on one side of a device's clsact or ingress qdisc, or those by route of an egress
// qdisc.
func readFilters(c *netlink.Conn, ifindex, parent uint32) ([]Filter, error) {
	msgs, err := dump(c, unix.RTM_GETTFILTER, tcRequest(ifindex, parent))
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	var out []Filter
	for _, m := range msgs {
		f, err := decodeFilter(m)
		if err != nil {
			return nil, fmt.Errorf("list filters: %w", err)
		}
		switch parent {
		case tcIngress, tcClsactIngress:
		case tcClsactEgress:
			f.Egress = true
		default:
			f.Egress, f.Qdisc = true, parent
			if !f.byRoute {
				continue
			}
		}
		out = add(out, f)
	}
	return slices.DeleteFunc(out, Filter.ours), nil
}

func decodeFilter(m netlink.Message) (Filter, error) {
	h, ad, err := split(m, sizeofTcMsg)
	if err != nil {
		return Filter{}, err
	}
	f := Filter{Handle: u32(h[8:]), Pref: uint16(u32(h[16:]) >> 16)}
	for ad.Next() {
		switch ad.Type() {
		case tcaKind:
			f.Kind = ad.String()
			f.byRoute = f.Kind == "route"
		case tcaOptions: // the kind comes first (tcf_fill_node)
			ad.Nested(f.options)
		}
	}
	return f, ad.Err()
}

// Attributes and values of kinds of filters (include/uapi/linux/pkt_cls.h).
const (
	tcaBPFName       = 7  // TCA_BPF_NAME
	tcaFlowKeys      = 1  // TCA_FLOW_KEYS
	flowKeyRtClassID = 13 // FLOW_KEY_RTCLASSID
)

// actionsAttr is the attribute of a kind's options that lists the filter's actions (include/uapi/linux/pkt_cls.h).
func actionsAttr(kind string) uint16 {
	switch kind {
	case "bpf", "cgroup":
		return 1 // TCA_BPF_ACT, TCA_CGROUP_ACT
	case "matchall":
		return 2 // TCA_MATCHALL_ACT
	case "flower", "basic":
		return 3 // TCA_FLOWER_ACT, TCA_BASIC_ACT
	case "fw":
		return 4 // TCA_FW_ACT
	case "u32":
		return 7 // TCA_U32_ACT
	case "flow":
		return 9 // TCA_FLOW_ACT
	}
	return 0
}

func (f *Filter) options(ad *netlink.AttributeDecoder) error {
	acts := actionsAttr(f.Kind)
	for ad.Next() {
		switch t := ad.Type(); {
		case f.Kind == "bpf" && t == tcaBPFName:
			f.Name = ad.String()
		case f.Kind == "flow" && t == tcaFlowKeys:
			f.byRoute = ad.Uint32()&(1<<flowKeyRtClassID) != 0
		case acts != 0 && t == acts:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(f.action)
				}
				return nil
			})
		}
	}
	return nil
}

// Attributes of an action, and of mirred (include/uapi/linux/pkt_cls.h, tc_act/tc_mirred.h).
const (
	tcaActKind     = 1 // TCA_ACT_KIND
	tcaActOptions  = 2 // TCA_ACT_OPTIONS
	tcaMirredParms = 2 // TCA_MIRRED_PARMS
	// struct tc_mirred { u32 index, capab; int action, refcnt, bindcnt, eaction; u32 ifindex; }
	mirredEaction = 20
	mirredIfindex = 24
	sizeofMirred  = 28
)

// action reads one action; of several that send packets somewhere the first counts.
func (f *Filter) action(ad *netlink.AttributeDecoder) error {
	kind := ""
	for ad.Next() {
		switch ad.Type() {
		case tcaActKind:
			kind = ad.String()
		case tcaActOptions:
			if kind != "mirred" || f.Action != "" {
				continue
			}
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					if b := ad.Bytes(); ad.Type() == tcaMirredParms && len(b) >= sizeofMirred {
						f.Action, f.To = mirred(u32(b[mirredEaction:])), u32(b[mirredIfindex:])
					}
				}
				return nil
			})
		}
	}
	return nil
}

// mirred names what the action does (TCA_EGRESS_REDIR and so on).
func mirred(eaction uint32) string {
	switch eaction {
	case 1, 3: // TCA_EGRESS_REDIR, TCA_INGRESS_REDIR
		return "redirect"
	}
	return "mirror"
}

// add appends f. The kernel lists each preference once without and then once or more with its contents.
func add(fs []Filter, f Filter) []Filter {
	for i, g := range fs {
		if g.Egress == f.Egress && g.Pref == f.Pref && g.Kind == f.Kind && g.empty() {
			fs[i] = f
			return fs
		}
	}
	return append(fs, f)
}

// empty reports that nothing is known but that there is a filter. u32 lists its hash tables, which hold none, as well.
func (f Filter) empty() bool {
	return f.Name == "" && f.Action == "" && (f.Handle == 0 || f.Kind == "u32" && f.Handle&0xfff == 0)
}
