package link

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Devlink is what devlink(8) says about the network devices of a namespace; empty where the kernel has no devlink.
type Devlink struct {
	// Eswitch is the mode of a NIC's embedded switch ("legacy", "switchdev", "switchdev_inactive") by bus device; those
	// without one are missing.
	Eswitch map[string]string
	// Flavour says what the port behind a device is, by ifindex.
	Flavour map[uint32]Flavour
}

// Flavour is a kind of devlink port (enum devlink_port_flavour, include/uapi/linux/devlink.h).
type Flavour uint16

// The flavours that matter. Those of PCI functions are representors.
const (
	FlavourPhysical Flavour = 0
	FlavourPF       Flavour = 3
	FlavourVF       Flavour = 4
	FlavourSF       Flavour = 7
)

// Representor reports whether the device stands for a PCI function behind the embedded switch.
func (f Flavour) Representor() bool { return f == FlavourPF || f == FlavourVF || f == FlavourSF }

// Devlink asks about all devices.
func (h *Handle) Devlink() (Devlink, error) {
	d := Devlink{Eswitch: map[string]string{}, Flavour: map[uint32]Flavour{}}
	family, err := h.genl.GetFamily("devlink")
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return Devlink{}, fmt.Errorf("ask devlink: %w", err)
	}
	ports, err := h.devlink(family, unix.DEVLINK_CMD_PORT_GET, netlink.Request|netlink.Dump, nil)
	if err != nil {
		return Devlink{}, fmt.Errorf("list devlink ports: %w", err)
	}
	for _, p := range ports {
		if p.ifindex != 0 {
			d.Flavour[p.ifindex] = p.flavour
		}
	}
	devices, err := h.devlink(family, unix.DEVLINK_CMD_GET, netlink.Request|netlink.Dump, nil)
	if err != nil {
		return Devlink{}, fmt.Errorf("list devlink devices: %w", err)
	}
	for _, dev := range devices {
		if mode := h.eswitch(family, dev); mode != "" {
			d.Eswitch[dev.device] = mode
		}
	}
	return d, nil
}

// eswitch asks for the mode of one device; empty for one without an embedded switch, which refuses the question.
func (h *Handle) eswitch(family genetlink.Family, dev devlinkObject) string {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.DEVLINK_ATTR_BUS_NAME, dev.bus)
	ae.String(unix.DEVLINK_ATTR_DEV_NAME, dev.device)
	b, err := ae.Encode()
	if err != nil {
		return ""
	}
	got, err := h.devlink(family, unix.DEVLINK_CMD_ESWITCH_GET, netlink.Request|netlink.Acknowledge, b)
	if err != nil || len(got) == 0 || !got[0].hasMode {
		return ""
	}
	return eswitchMode(got[0].mode)
}

// eswitchMode names a mode as devlink(8) does (enum devlink_eswitch_mode).
func eswitchMode(m uint16) string {
	switch m {
	case 0:
		return "legacy"
	case 1:
		return "switchdev"
	case 2:
		return "switchdev_inactive"
	}
	return ""
}

// devlinkObject is what one message says.
type devlinkObject struct {
	bus, device string
	ifindex     uint32
	flavour     Flavour
	mode        uint16
	hasMode     bool
}

func (h *Handle) devlink(family genetlink.Family, cmd uint8, flags netlink.HeaderFlags, data []byte) ([]devlinkObject, error) {
	msgs, err := h.genl.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmd, Version: family.Version}, Data: data,
	}, family.ID, flags)
	if err != nil {
		return nil, err
	}
	out := make([]devlinkObject, 0, len(msgs))
	for _, m := range msgs {
		o, err := decodeDevlink(m.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func decodeDevlink(b []byte) (devlinkObject, error) {
	var o devlinkObject
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return o, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.DEVLINK_ATTR_BUS_NAME:
			o.bus = ad.String()
		case unix.DEVLINK_ATTR_DEV_NAME:
			o.device = ad.String()
		case unix.DEVLINK_ATTR_PORT_NETDEV_IFINDEX:
			o.ifindex = ad.Uint32()
		case unix.DEVLINK_ATTR_PORT_FLAVOUR:
			o.flavour = Flavour(ad.Uint16())
		case unix.DEVLINK_ATTR_ESWITCH_MODE:
			o.mode, o.hasMode = ad.Uint16(), true
		}
	}
	return o, ad.Err()
}

// switchID renders IFLA_PHYS_SWITCH_ID as sysfs does.
func switchID(b []byte) string { return hex.EncodeToString(b) }
