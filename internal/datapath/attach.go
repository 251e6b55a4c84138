package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrBusy says that another XDP program is on the device; it is never replaced.
var ErrBusy = errors.New("another XDP program is attached")

// AttachError names the device a program could not be attached to.
type AttachError struct {
	Device string
	Hook   string // "xdp", "tc ingress", "tc egress"
	Err    error
}

func (e *AttachError) Error() string {
	return fmt.Sprintf("attach %s on %s: %v", e.Hook, e.Device, e.Err)
}

func (e *AttachError) Unwrap() error { return e.Err }

// The three places on a device, as the names of their pins say them.
const (
	placeXDP     = "xdp"
	placeIngress = "ingress"
	placeEgress  = "egress"
)

// Apply makes the datapath run on exactly these devices. It is idempotent; an empty list detaches all. Devices that
// cannot be attached are left out and returned as AttachErrors (joined); the others run.
func (d *Datapath) Apply(devices []Device) error {
	var errs []error
	want := map[uint32]bool{}
	for _, dev := range devices {
		if err := d.applyDevice(dev); err != nil {
			errs = append(errs, err)
			continue
		}
		want[dev.Ifindex] = true
	}
	if len(errs) > 0 {
		errs = append(errs, d.distrust(devices, want))
	}
	gone, err := d.retain(want)
	errs = append(errs, err)
	if gone {
		// Entries that lead to a device we left lose their lease.
		errs = append(errs, d.Bump())
	}
	return errors.Join(errs...)
}

// distrust makes bridge ports wary of copies after some device was left out: it may be a port as well.
func (d *Datapath) distrust(devices []Device, on map[uint32]bool) error {
	var errs []error
	for _, dev := range devices {
		if on[dev.Ifindex] && dev.Floods == FloodsSeen {
			dev.Floods = FloodsUnseen
			errs = append(errs, d.applyDevice(dev))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) applyDevice(dev Device) error {
	if dev.Ifindex == 0 || dev.Ifindex > maxIfindex {
		return &AttachError{dev.Name, dev.Hook.String(), fmt.Errorf("ifindex %d is outside 1..%d", dev.Ifindex, maxIfindex)}
	}
	places := dev.places()
	for _, place := range []string{placeEgress, placeIngress, placeXDP} { // the observer first: what it misses is only learned later
		prog, err := d.placed(dev, place, places)
		if err != nil {
			// Nor is a program left that its rules have outlived.
			return &AttachError{dev.Name, place, errors.Join(err, d.dropDevice(dev.Ifindex))}
		}
		if prog == nil {
			if err := d.detach(dev.Ifindex, place); err != nil {
				return err
			}
			continue
		}
		if err := d.attach(dev.Ifindex, place, prog); err != nil {
			// Never half a device: without the notes or the observer the rest is useless.
			return &AttachError{dev.Name, place, errors.Join(err, d.dropDevice(dev.Ifindex))}
		}
	}
	if dev.Unlisted {
		return d.forget(dev.Ifindex)
	}
	rec := nfoDevice{
		Labels: dev.Labels, Hook: uint8(dev.Hook), XdpTarget: uint8(flag(dev.XDPTarget)),
		Flowtable: uint8(flag(dev.Flowtable)), Present: 1,
		Bare: uint8(flag(dev.Bare)), Refused: uint8(flag(dev.Refused)), Under: uint8(flag(dev.Under)), Stack: dev.Stack,
	}
	if err := d.record(dev.Ifindex).Put(dev.Ifindex, &rec); err != nil {
		return fmt.Errorf("record device %s: %w", dev.Name, err)
	}
	return nil
}

// places says which program of ours runs where on a device.
func (dev Device) places() map[string]variant {
	if dev.Above || dev.Unlisted {
		return nil // whatever was here in another life goes
	}
	places := map[string]variant{placeEgress: {name: "nfo_egress"}, placeIngress: {name: "nfo_ingress"}}
	switch {
	case dev.Bare:
		for place, v := range places {
			places[place] = variant{v.name, "bare", 1}
		}
		return places
	case dev.Floods != FloodsNot:
		places[placeEgress] = variant{"nfo_egress", "floods", uint32(dev.Floods)}
	}
	if dev.Hook == HookXDP {
		places[placeIngress] = variant{"nfo_ingress", "behind_xdp", 1}
		places[placeXDP] = variant{"nfo_xdp", "partial_checksums", flag(dev.PartialChecksums)}
	}
	return places
}

// record is the map that holds a device's record: an array for the usual low ifindexes.
func (d *Datapath) record(ifindex uint32) *ebpf.Map {
	if ifindex < d.maps.LowDevices.MaxEntries() {
		return d.maps.LowDevices
	}
	return d.maps.Devices
}

// recorded lists the devices that have a record. Those above others have nothing else.
func (d *Datapath) recorded() ([]uint32, error) {
	var out []uint32
	for _, m := range []*ebpf.Map{d.maps.LowDevices, d.maps.Devices} {
		var i uint32
		var rec nfoDevice
		it := m.Iterate()
		for it.Next(&i, &rec) {
			if rec.Present != 0 {
				out = append(out, i)
			}
		}
		if err := it.Err(); err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
	}
	return out, nil
}

func (d *Datapath) forget(ifindex uint32) error {
	m := d.record(ifindex)
	var err error
	if m.Type() == ebpf.Array {
		err = m.Put(ifindex, &nfoDevice{})
	} else if err = m.Delete(ifindex); errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget device %d: %w", ifindex, err)
	}
	return nil
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// retain detaches from every device that is not wanted.
func (d *Datapath) retain(want map[uint32]bool) (bool, error) {
	var errs []error
	attached, err := attachedDevices(d.cfg.Dir)
	if err != nil {
		return false, err
	}
	recorded, err := d.recorded()
	if err != nil {
		return false, err
	}
	gone := false
	for _, i := range append(attached, recorded...) {
		if !want[i] {
			gone = true
			errs = append(errs, d.dropDevice(i))
		}
	}
	return gone, errors.Join(errs...)
}

func (d *Datapath) dropDevice(ifindex uint32) error {
	errs := []error{
		d.detach(ifindex, placeXDP),
		d.detach(ifindex, placeIngress),
		d.detach(ifindex, placeEgress),
	}
	return errors.Join(append(errs, d.forget(ifindex))...)
}

func pinName(dir string, ifindex uint32, place string) string {
	return filepath.Join(dir, fmt.Sprintf("link-%d-%s", ifindex, place))
}

// attachedDevices reads the ifindexes from the names of the pins.
func attachedDevices(dir string) ([]uint32, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	seen := map[uint32]bool{}
	var out []uint32
	for _, e := range entries {
		parts := strings.Split(e.Name(), "-")
		if len(parts) != 3 || parts[0] != "link" && parts[0] != "clsact" {
			continue
		}
		n, err := strconv.ParseUint(parts[1], 10, 32)
		if err == nil && !seen[uint32(n)] {
			seen[uint32(n)] = true
			out = append(out, uint32(n))
		}
	}
	return out, nil
}

// attach puts a program in a place, or updates the link that is pinned there. A pinned link whose device is gone (or
// was replaced by one with the same ifindex in a later life) is replaced.
func (d *Datapath) attach(ifindex uint32, place string, prog *ebpf.Program) error {
	pin := pinName(d.cfg.Dir, ifindex, place)
	if l, err := link.LoadPinnedLink(pin, nil); err == nil {
		err = l.Update(prog)
		_ = l.Close()
		if err == nil {
			return nil
		}
		if err := os.Remove(pin); err != nil {
			return fmt.Errorf("remove stale pin: %w", err)
		}
	}
	l, err := newLink(ifindex, place, prog)
	if errors.Is(err, ebpf.ErrNotSupported) && place != placeXDP {
		return attachClsact(d.cfg.Dir, ifindex, place, prog)
	}
	if errors.Is(err, unix.EBUSY) {
		return ErrBusy
	}
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // pinned below: the kernel keeps it
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

func newLink(ifindex uint32, place string, prog *ebpf.Program) (link.Link, error) {
	switch place {
	case placeXDP:
		return link.AttachXDP(link.XDPOptions{Program: prog, Interface: int(ifindex), Flags: link.XDPDriverMode})
	case placeIngress:
		return link.AttachTCX(link.TCXOptions{Program: prog, Interface: int(ifindex), Attach: ebpf.AttachTCXIngress})
	default:
		return link.AttachTCX(link.TCXOptions{Program: prog, Interface: int(ifindex), Attach: ebpf.AttachTCXEgress})
	}
}

func (d *Datapath) detach(ifindex uint32, place string) error {
	return detachPlace(d.cfg.Dir, ifindex, place)
}

func detachPlace(dir string, ifindex uint32, place string) error {
	if err := detachClsact(dir, ifindex, place); err != nil {
		return err
	}
	pin := pinName(dir, ifindex, place)
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", pin, err)
	}
	// Removing the pin alone leaves the program on until the last descriptor closes; detach says when.
	err = l.Detach()
	if err != nil && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, unix.ENOLINK) {
		_ = l.Close()
		return fmt.Errorf("detach %s: %w", pin, err)
	}
	return errors.Join(os.Remove(pin), l.Close())
}

// Withdraw removes everything below the directory: programs, links, filters, maps. It needs no daemon, and must run
// in the network namespace of the devices. A directory that does not exist is withdrawn already, or was lost with its
// file system: filters stay then.
func Withdraw(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return removeFilters()
	}
	devices, err := attachedDevices(dir)
	errs := []error{err}
	for _, i := range devices {
		for _, place := range []string{placeXDP, placeIngress, placeEgress} {
			errs = append(errs, detachPlace(dir, i, place))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}
