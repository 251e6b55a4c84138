package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Attributes of flowtables (enum nft_flowtable_attributes and nft_flowtable_hook_attributes,
// include/uapi/linux/netfilter/nf_tables.h); x/sys does not have them.
const (
	flowtableTable = 1 // NFTA_FLOWTABLE_TABLE
	flowtableName  = 2 // NFTA_FLOWTABLE_NAME
	flowtableHook  = 3 // NFTA_FLOWTABLE_HOOK
	flowtableFlags = 7 // NFTA_FLOWTABLE_FLAGS
	flowtableDevs  = 3 // NFTA_FLOWTABLE_HOOK_DEVS
	hookDevs       = 4 // NFTA_HOOK_DEVS
	deviceName     = 1 // NFTA_DEVICE_NAME
	devicePrefix   = 2 // NFTA_DEVICE_PREFIX

	flagOffload = 1 // NFT_FLOWTABLE_HW_OFFLOAD
	flagCounter = 2 // NFT_FLOWTABLE_COUNTER
)

// nfgenLen is the length of struct nfgenmsg: family, version, resource id (nfnetlink.h).
const nfgenLen = 4

// kernelObject is what a dump of tables, chains or flowtables says of one.
type kernelObject struct {
	family, table, name string
	devices             []string
	flags               []string
	comment             string
}

// complete fills in the devices of chains that hang on devices, and devices and flags of flowtables.
func complete(r *handover.Ruleset) error {
	for i := range r.Chains {
		if c := &r.Chains[i]; c.Family == "netdev" || c.Hook == "ingress" {
			objs, err := dump(unix.NFT_MSG_GETCHAIN, chainObject)
			if err != nil {
				return fmt.Errorf("list chain devices: %w", err)
			}
			fillChains(r.Chains, objs)
			break
		}
	}
	for _, f := range r.Flowtables {
		if !f.Lowered {
			objs, err := dump(unix.NFT_MSG_GETFLOWTABLE, flowtableObject)
			if err != nil {
				return fmt.Errorf("list flowtable devices: %w", err)
			}
			fillFlowtables(r.Flowtables, objs)
			break
		}
	}
	return nil
}

func fillChains(chains []handover.Chain, objs []kernelObject) {
	for i := range chains {
		c := &chains[i]
		for _, o := range objs {
			if o.family == c.Family && o.table == c.Table && o.name == c.Name {
				c.Devices = o.devices
			}
		}
	}
}

func fillFlowtables(tables []handover.Flowtable, objs []kernelObject) {
	for i := range tables {
		f := &tables[i]
		for _, o := range objs {
			if !f.Lowered && o.family == f.Family && o.table == f.Table && o.name == f.Name {
				f.Devices, f.Flags = o.devices, o.flags
			}
		}
	}
}

// dump asks nf_tables for all objects of a kind in this thread's network namespace.
func dump(msg uint16, decode func(*netlink.AttributeDecoder, *kernelObject)) ([]kernelObject, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | msg),
			Flags: netlink.Request | netlink.Dump,
		},
		Data: make([]byte, nfgenLen), // family 0: all
	})
	if err != nil {
		return nil, err
	}
	var out []kernelObject
	for _, m := range msgs {
		if len(m.Data) < nfgenLen {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[nfgenLen:])
		if err != nil {
			return nil, err
		}
		o := kernelObject{family: familyName(m.Data[0])}
		decode(ad, &o)
		if err := ad.Err(); err != nil {
			return nil, err
		}
		slices.Sort(o.devices)
		out = append(out, o)
	}
	return out, nil
}

// tableHandle is NFTA_TABLE_HANDLE (Linux 4.16), 64 bits; x/sys does not have it.
const tableHandle = 4

// Flags of tables (enum nft_table_flags). The last one is Linux 6.9's.
func tableFlags(flags uint32) []string {
	var out []string
	for i, name := range []string{"dormant", "owner", "persist"} {
		if flags&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// tableUserdata is NFTA_TABLE_USERDATA (Linux 5.10): types, lengths and values of a byte each; type 0 is the comment
// (libnftnl, udata.h).
const tableUserdata = 6

func tableObject(ad *netlink.AttributeDecoder, o *kernelObject) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_TABLE_NAME:
			o.name = ad.String()
		case unix.NFTA_TABLE_FLAGS:
			o.flags = tableFlags(beUint32(ad.Bytes()))
		case tableUserdata:
			for b := ad.Bytes(); len(b) >= 2 && len(b) >= 2+int(b[1]); b = b[2+int(b[1]):] {
				if b[0] == 0 {
					o.comment = string(text(b[2 : 2+int(b[1])]))
				}
			}
		}
	}
}

func chainObject(ad *netlink.AttributeDecoder, o *kernelObject) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			o.table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			o.name = ad.String()
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(func(hook *netlink.AttributeDecoder) error {
				for hook.Next() {
					switch hook.Type() {
					case unix.NFTA_HOOK_DEV:
						o.devices = append(o.devices, hook.String())
					case hookDevs:
						o.devices = nil // the list repeats a single device
						hook.Nested(o.addDevices)
					}
				}
				return nil
			})
		}
	}
	o.devices = slices.Compact(o.devices)
}

func flowtableObject(ad *netlink.AttributeDecoder, o *kernelObject) {
	for ad.Next() {
		switch ad.Type() {
		case flowtableTable:
			o.table = ad.String()
		case flowtableName:
			o.name = ad.String()
		case flowtableHook:
			ad.Nested(func(hook *netlink.AttributeDecoder) error {
				for hook.Next() {
					if hook.Type() == flowtableDevs {
						hook.Nested(o.addDevices)
					}
				}
				return nil
			})
		case flowtableFlags:
			o.flags = flagNames(beUint32(ad.Bytes()))
		}
	}
}

func (o *kernelObject) addDevices(list *netlink.AttributeDecoder) error {
	for list.Next() {
		switch b := list.Bytes(); {
		case list.Type() == deviceName && bytes.HasSuffix(b, []byte{0}):
			o.devices = append(o.devices, list.String())
		case list.Type() == deviceName, list.Type() == devicePrefix:
			// "eth*": Linux 6.16 leaves the terminating zero of the name out, later ones have an attribute for it.
			o.devices = append(o.devices, string(bytes.TrimRight(b, "\x00"))+"*")
		}
	}
	return nil
}

func flagNames(flags uint32) []string {
	var out []string
	if flags&flagCounter != 0 {
		out = append(out, "counter")
	}
	if flags&flagOffload != 0 {
		out = append(out, "offload")
	}
	return out
}

// beUint32 reads a number in network byte order; 0 when it is not four bytes.
func beUint32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// beUint64 reads a number in network byte order; 0 when it is not eight bytes.
func beUint64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// familyName is nft's name for an NFPROTO_ number (include/uapi/linux/netfilter.h).
func familyName(n uint8) string {
	switch n {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_ARP:
		return "arp"
	case unix.NFPROTO_NETDEV:
		return "netdev"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	case unix.NFPROTO_IPV6:
		return "ip6"
	default:
		return ""
	}
}

// bigEndian reports the byte order of this machine.
func bigEndian() bool { return binary.NativeEndian.Uint16([]byte{0, 1}) == 1 }
