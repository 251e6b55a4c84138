package link

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// XDPFeatures is what a device's driver says it can do with XDP (enum netdev_xdp_act, include/uapi/linux/netdev.h).
type XDPFeatures struct {
	Known bool // false before Linux 6.3: the kernel does not say
	Bits  XDPFeature
}

// XDPFeature is one or more bits of the driver's answer.
type XDPFeature uint64

// The bits of XDPFeature.
const (
	XDPBasic     XDPFeature = 1 << 0 // native XDP: DROP, PASS, TX
	XDPRedirect  XDPFeature = 1 << 1 // may redirect to others
	XDPNdoXmit   XDPFeature = 1 << 2 // others may redirect to it
	XDPZeroCopy  XDPFeature = 1 << 3
	XDPHWOffload XDPFeature = 1 << 4
	XDPRxSG      XDPFeature = 1 << 5 // multi-buffer frames
	XDPNdoXmitSG XDPFeature = 1 << 6
)

// Has reports whether the kernel says so.
func (f XDPFeatures) Has(want XDPFeature) bool { return f.Known && f.Bits&want == want }

// Commands and attributes of the netdev family (include/uapi/linux/netdev.h).
const (
	netdevCmdGet      = 1
	netdevAttrIfindex = 1
	netdevAttrXDP     = 3
)

// xdpFeatures asks for all devices; the map is nil when the kernel has no such question.
func (h *Handle) xdpFeatures() (map[uint32]XDPFeature, error) {
	if h.netdev.ID == 0 {
		return nil, nil
	}
	msgs, err := h.genl.Execute(genetlink.Message{
		Header: genetlink.Header{Command: netdevCmdGet, Version: h.netdev.Version},
	}, h.netdev.ID, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("list xdp features: %w", err)
	}
	out := make(map[uint32]XDPFeature, len(msgs))
	for _, m := range msgs {
		ifindex, bits, err := decodeNetdev(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list xdp features: %w", err)
		}
		out[ifindex] = bits
	}
	return out, nil
}

func decodeNetdev(b []byte) (ifindex uint32, bits XDPFeature, err error) {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return 0, 0, err
	}
	for ad.Next() {
		switch ad.Type() {
		case netdevAttrIfindex:
			ifindex = ad.Uint32()
		case netdevAttrXDP:
			bits = XDPFeature(ad.Uint64())
		}
	}
	return ifindex, bits, ad.Err()
}

// XDPMode is how an XDP program is attached.
type XDPMode string

// The modes.
const (
	XDPModeNative  XDPMode = "native"
	XDPModeGeneric XDPMode = "generic"
	XDPModeOffload XDPMode = "offload"
)

// XDPProgram is a program that somebody else attached to a device.
type XDPProgram struct {
	ID   uint32
	Name string // empty when it is not readable
	Mode XDPMode
}

// String renders the program as status shows it.
func (p XDPProgram) String() string {
	return fmt.Sprintf("%s XDP program %q (id %d)", p.Mode, p.Name, p.ID)
}

// programName returns the name of a loaded program; empty when it is gone or not ours to see.
func programName(id uint32) string {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer func() { _ = p.Close() }()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// foreignXDP names the attached programs that are not ours.
func foreignXDP(ids [3]uint32) []XDPProgram {
	var out []XDPProgram
	for i, mode := range [...]XDPMode{xdpNative: XDPModeNative, xdpGeneric: XDPModeGeneric, xdpOffload: XDPModeOffload} {
		if ids[i] == 0 {
			continue
		}
		if name := programName(ids[i]); !ourProgram(name) {
			out = append(out, XDPProgram{ID: ids[i], Name: name, Mode: mode})
		}
	}
	return out
}

// foreignTCX lists other people's tcx programs on a device. The caller's thread is in the device's namespace.
func foreignTCX(ifindex uint32) ([]Filter, error) {
	var out []Filter
	for _, egress := range []bool{false, true} {
		at := ebpf.AttachTCXIngress
		if egress {
			at = ebpf.AttachTCXEgress
		}
		r, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: int(ifindex), Attach: at})
		switch {
		case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
			continue // the device is gone, or has none
		case errors.Is(err, unix.EINVAL), errors.Is(err, ebpf.ErrNotSupported):
			return nil, nil // before Linux 6.6
		case errors.Is(err, os.ErrPermission):
			return nil, fmt.Errorf("list tcx programs: %w: needs CAP_NET_ADMIN and CAP_BPF", err)
		case err != nil:
			return nil, fmt.Errorf("list tcx programs: %w", err)
		}
		for _, p := range r.Programs {
			if f := (Filter{Egress: egress, TCX: true, Kind: "tcx", Name: programName(uint32(p.ID))}); !f.ours() {
				out = append(out, f)
			}
		}
	}
	return out, nil
}
