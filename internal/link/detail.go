package link

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// Names of device features that matter to hardware only.
const (
	HWTCOffload = "hw-tc-offload"    // ethtool -K hw-tc-offload: the driver takes tc rules
	Ntuple      = "rx-ntuple-filter" // ethtool -K ntuple: it takes filters of ethtool -N
)

// Detail is what a driver tells about one device and the datapath does not need. Fields that the driver does not tell
// are zero.
type Detail struct {
	Firmware string
	Speed    uint32 // of the link, in Mbit/s
	Channels Channels
	Rings    Rings
}

// Channels are the queues of a device, in use and at most.
type Channels struct {
	Rx, Tx, Combined          uint32
	MaxRx, MaxTx, MaxCombined uint32
}

// Rings are the descriptors of each queue, in use and at most.
type Rings struct{ Rx, Tx, MaxRx, MaxTx uint32 }

// Detail asks the driver of one device. A device that goes away, and one without ethtool, has none.
func (h *Handle) Detail(ifname string) Detail {
	d := Detail{Speed: h.speed(ifname), Channels: h.channels(ifname), Rings: h.rings(ifname)}
	if info, err := unix.IoctlGetEthtoolDrvinfo(int(h.inet.Fd()), ifname); err == nil {
		d.Firmware = firmware(unix.ByteSliceToString(info.Fw_version[:]))
	}
	return d
}

// firmware leaves out what drivers write that have none.
func firmware(s string) string {
	if s == "N/A" {
		return ""
	}
	return s
}

// speed reads ETHTOOL_GLINKSETTINGS: struct ethtool_link_settings { cmd, speed, ..., s8 link_mode_masks_nwords, ... }
// and three masks of so many words behind it. A first call with no words tells how many there are.
func (h *Handle) speed(ifname string) uint32 {
	const header, nwords = 48, 15
	b := make([]byte, header)
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GLINKSETTINGS)
	if h.ethtool(ifname, b) != nil {
		return 0
	}
	words := -int(int8(b[nwords]))
	if words <= 0 {
		return 0
	}
	b = make([]byte, header+3*4*words)
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GLINKSETTINGS)
	b[nwords] = byte(words)
	if h.ethtool(ifname, b) != nil {
		return 0
	}
	if s := u32(b[4:]); s <= math.MaxInt32 { // SPEED_UNKNOWN is -1
		return s
	}
	return 0
}

// channels reads struct ethtool_channels { cmd, max_rx, max_tx, max_other, max_combined, rx_count, tx_count, ... }.
func (h *Handle) channels(ifname string) Channels {
	b := make([]byte, 36)
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GCHANNELS)
	if h.ethtool(ifname, b) != nil {
		return Channels{}
	}
	return Channels{
		MaxRx: u32(b[4:]), MaxTx: u32(b[8:]), MaxCombined: u32(b[16:]),
		Rx: u32(b[20:]), Tx: u32(b[24:]), Combined: u32(b[32:]),
	}
}

// rings reads struct ethtool_ringparam { cmd, rx_max, rx_mini_max, rx_jumbo_max, tx_max, rx, rx_mini, rx_jumbo, tx }.
func (h *Handle) rings(ifname string) Rings {
	b := make([]byte, 36)
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GRINGPARAM)
	if h.ethtool(ifname, b) != nil {
		return Rings{}
	}
	return Rings{MaxRx: u32(b[4:]), MaxTx: u32(b[16:]), Rx: u32(b[20:]), Tx: u32(b[32:])}
}
