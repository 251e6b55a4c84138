package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of device features, as the kernel spells them (net/ethtool/common.c, netdev_features_strings).
const (
	RxVLAN         = "rx-vlan-hw-parse" // ethtool -K rxvlan: the tag is taken off the frame into metadata
	GRO            = "rx-gro"           // ethtool -K gro
	LRO            = "rx-lro"           // ethtool -K lro
	TxChecksum     = "tx-checksum-ip-generic"
	TxChecksumIPv4 = "tx-checksum-ipv4"
)

// Feature is the state of one device feature.
type Feature struct {
	On    bool
	Fixed bool // the driver does not let it be changed
}

// ErrNoFeature says that this kernel or device has no feature of that name.
var ErrNoFeature = errors.New("no such device feature")

// ErrFixed says that the driver keeps a feature as it is.
var ErrFixed = errors.New("device feature cannot be changed")

// Feature reads one feature of a device.
func (h *Handle) Feature(ifname, feature string) (Feature, error) {
	fs, err := h.features(ifname)
	if err != nil {
		return Feature{}, fmt.Errorf("read feature %s of %s: %w", feature, ifname, err)
	}
	f, ok := fs[feature]
	if !ok {
		return Feature{}, fmt.Errorf("read feature %s of %s: %w", feature, ifname, ErrNoFeature)
	}
	return f, nil
}

// SetFeature switches one feature of a device, as `ethtool -K` does, and reports ErrFixed when it does not follow.
func (h *Handle) SetFeature(ifname, feature string, on bool) error {
	if err := h.setFeature(ifname, feature, on); err != nil {
		return fmt.Errorf("set feature %s of %s: %w", feature, ifname, err)
	}
	return nil
}

func (h *Handle) setFeature(ifname, feature string, on bool) error {
	names, err := h.featureNames(ifname)
	if err != nil {
		return err
	}
	for i, n := range names {
		if n != feature {
			continue
		}
		blocks := (len(names) + 31) / 32
		b := make([]byte, 8+8*blocks) // struct ethtool_sfeatures: cmd, size, { valid, requested } per 32 features
		binary.NativeEndian.PutUint32(b, unix.ETHTOOL_SFEATURES)
		binary.NativeEndian.PutUint32(b[4:], uint32(blocks))
		at := 8 + 8*(i/32)
		binary.NativeEndian.PutUint32(b[at:], 1<<(i%32))
		if on {
			binary.NativeEndian.PutUint32(b[at+4:], 1<<(i%32))
		}
		if err := h.ethtool(ifname, b); err != nil {
			return err
		}
		// The driver may have had other ideas (ETHTOOL_F_WISH); only the state counts.
		f, err := h.Feature(ifname, feature)
		if err == nil && f.On != on {
			err = ErrFixed
		}
		return err
	}
	return ErrNoFeature
}

// features reads all features of a device.
func (h *Handle) features(ifname string) (map[string]Feature, error) {
	names, err := h.featureNames(ifname)
	if err != nil {
		return nil, err
	}
	blocks := (len(names) + 31) / 32
	b := make([]byte, 8+16*blocks) // struct ethtool_gfeatures: cmd, size, { available, requested, active, never_changed }
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GFEATURES)
	binary.NativeEndian.PutUint32(b[4:], uint32(blocks))
	if err := h.ethtool(ifname, b); err != nil {
		return nil, err
	}
	out := make(map[string]Feature, len(names))
	for i, n := range names {
		block, bit := b[8+16*(i/32):], uint32(1)<<(i%32)
		out[n] = Feature{On: u32(block[8:])&bit != 0, Fixed: u32(block)&bit == 0 || u32(block[12:])&bit != 0}
	}
	return out, nil
}

const (
	setFeatures = 4  // ETH_SS_FEATURES
	stringLen   = 32 // ETH_GSTRING_LEN
)

// featureNames reads the names of the feature bits; they are the same for all devices, but asked of one.
func (h *Handle) featureNames(ifname string) ([]string, error) {
	b := make([]byte, 20) // struct ethtool_sset_info: cmd, reserved, u64 mask, one count
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(b[8:], 1<<setFeatures)
	if err := h.ethtool(ifname, b); err != nil {
		return nil, err
	}
	n := int(u32(b[16:]))
	b = make([]byte, 12+stringLen*n) // struct ethtool_gstrings: cmd, set, count, strings
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], setFeatures)
	binary.NativeEndian.PutUint32(b[8:], uint32(n))
	if err := h.ethtool(ifname, b); err != nil {
		return nil, err
	}
	names := make([]string, n)
	for i := range names {
		s := string(b[12+stringLen*i : 12+stringLen*(i+1)])
		names[i], _, _ = strings.Cut(s, "\x00")
	}
	return names, nil
}

// driver returns the name of a device's driver; empty when it has none to tell.
func (h *Handle) driver(ifname string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(int(h.inet.Fd()), ifname)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}

// ifreq is struct ifreq with a pointer in it; the kernel copies 40 bytes on 64-bit machines, 32 on others.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool runs one SIOCETHTOOL command, in place. The ioctl interface is there on every kernel; the netlink one
// (CONFIG_ETHTOOL_NETLINK) is an option that small systems leave out.
func (h *Handle) ethtool(ifname string, cmd []byte) error {
	if len(ifname) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	r := ifreq{data: unsafe.Pointer(&cmd[0])}
	copy(r.name[:], ifname)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, h.inet.Fd(), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(cmd)
	if errno != 0 {
		return os.NewSyscallError("ioctl SIOCETHTOOL", errno)
	}
	return nil
}
