package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Sizes of maps that are not configurable. adjacencies is also in bpf/flow.h.
const (
	adjacencies     = 4096
	defaultMaxFlows = 131072
	// A connection of a request and an answer, with its handshake and close, has not more packets a direction that
	// could be learned from. An entry for it would cost more than it saves.
	defaultMinPackets = 4
	maxIfindex        = 1<<24 - 1 // the key has 24 bits for it
)

// Limits of leases, and of what happens when one is due (DESIGN: the lease).
const (
	defaultDue  = time.Second
	defaultHard = 2 * time.Second
	softLimit   = 100 * time.Millisecond // from a generation change to the end of what is not renewed
	claimRetry  = 100 * time.Millisecond // a renewal that brought nothing is tried again after this
	preferLimit = 250 * time.Millisecond // how long a due lease waits for a packet that nothing can overtake
	checkEvery  = 100 * time.Millisecond // between looks at the conntrack entry
	heartbeat   = 2 * time.Second
	tick        = 1 << 20 * time.Nanosecond

	renewalBudget = 20_000  // a second: 2 to 3 % of a core at 1.2 us each
	checkBudget   = 100_000 // a second: 60 to 450 ns each
)

// ErrIncompatible says that the directory holds the pins of another version or of other sizes. Withdraw it first.
var ErrIncompatible = errors.New("pinned state is of another version or size")

// ErrNoBTF says that the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF).
var ErrNoBTF = errors.New("the kernel has no BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)")

// ErrNoBPFFS says that the pin directory is not on a bpf file system.
var ErrNoBPFFS = errors.New("not on a bpf file system")

// Datapath is the loaded state of one network namespace. Bump, Heartbeat, Flows, Stats and Candidates may be called from
// any goroutine; of the others only one at a time. Attaching resolves ifindexes in the network namespace of the calling OS thread.
type Datapath struct {
	cfg       Config
	maps      nfoMaps
	programs  map[variant]*ebpf.Program
	clock     clock
	adopted   bool
	slots     slots
	sweeps    int // so far
	forgotten int // entries deleted since the bits of known were rewritten

	mu       sync.Mutex // guards settings, of which Bump and Heartbeat write from any goroutine
	settings nfoSettings
}

// variant is a program with one of its constants set, or none.
type variant struct {
	name     string
	constant string // "partial_checksums" for nfo_xdp, "behind_xdp" for nfo_ingress, "bare" for both tc programs, "floods" for nfo_egress
	value    uint32
}

// Open loads the maps into, or adopts them from, the bpffs directory of the configuration and loads the programs.
// Nothing is attached before Apply.
func Open(cfg Config) (*Datapath, error) {
	cfg = cfg.withDefaults()
	if err := onBPFFS(filepath.Dir(cfg.Dir)); err != nil {
		return nil, err
	}
	if _, err := btf.LoadKernelSpec(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	d := &Datapath{cfg: cfg, clock: clock, programs: map[variant]*ebpf.Program{}}
	if err := d.loadMaps(); err != nil {
		_ = d.Close()
		return nil, err
	}
	if err := d.configure(); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

func (c Config) withDefaults() Config {
	if c.MaxFlows == 0 {
		c.MaxFlows = defaultMaxFlows
	}
	if c.Due == 0 {
		c.Due = defaultDue
	}
	if c.Hard == 0 {
		c.Hard = defaultHard
	}
	if c.MinPackets == 0 {
		c.MinPackets = defaultMinPackets
	}
	return c
}

// onBPFFS checks that dir, or its nearest existing parent, is on a bpf file system.
func onBPFFS(dir string) error {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			if uint64(st.Type) != unix.BPF_FS_MAGIC {
				return fmt.Errorf("%s: %w", dir, ErrNoBPFFS)
			}
			return nil
		}
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}

func (d *Datapath) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadNfo()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	for _, m := range []string{"flows4", "flows6"} {
		spec.Maps[m].MaxEntries = d.cfg.MaxFlows
	}
	spec.Maps["known"].MaxEntries = knownWords(d.cfg.MaxFlows)
	return spec, nil
}

func (d *Datapath) loadMaps() error {
	spec, err := d.spec()
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(d.cfg.Dir, "control"))
	d.adopted = err == nil
	err = spec.LoadAndAssign(&d.maps, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.cfg.Dir}})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("adopt %s: %w: %w", d.cfg.Dir, ErrIncompatible, err)
	}
	if err != nil {
		return fmt.Errorf("load maps: %w", err)
	}
	return nil
}

// program loads a program with its constant set, once.
func (d *Datapath) program(v variant) (*ebpf.Program, error) {
	if p := d.programs[v]; p != nil {
		return p, nil
	}
	spec, err := d.spec()
	if err != nil {
		return nil, err
	}
	if v.constant != "" {
		if err := spec.Variables[v.constant].Set(v.value); err != nil {
			return nil, fmt.Errorf("set %s: %w", v.constant, err)
		}
	}
	for name := range spec.Programs {
		if name != v.name {
			delete(spec.Programs, name)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Maps: ebpf.MapOptions{PinPath: d.cfg.Dir},
		MapReplacements: map[string]*ebpf.Map{
			"flows4": d.maps.Flows4, "flows6": d.maps.Flows6, "adjs": d.maps.Adjs, "adj_ids": d.maps.AdjIds,
			"adj_free": d.maps.AdjFree, "notes": d.maps.Notes, "control": d.maps.Control,
			"devices": d.maps.Devices, "stats": d.maps.Stats, "candidates": d.maps.Candidates,
			"scratch": d.maps.Scratch, "short_flows": d.maps.ShortFlows, "low_devices": d.maps.LowDevices, "locals": d.maps.Locals, "known": d.maps.Known, "holds": d.maps.Holds, "refused": d.maps.Refused, "passed": d.maps.Passed,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", v.name, err)
	}
	defer coll.Close()
	p := coll.DetachProgram(v.name)
	d.programs[v] = p
	return p, nil
}

// configure writes the limits, and fills the free list of a new datapath. The due limit is written last of all: a
// record without one belongs to a datapath that was never finished.
func (d *Datapath) configure() error {
	var old nfoSettings
	if err := d.maps.Control.Lookup(uint32(0), &old); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	var err error
	if old.Due == 0 {
		err = d.slots.fill(d.maps.AdjFree)
	} else {
		err = d.slots.adopt(d)
	}
	if err != nil {
		return err
	}
	d.settings = nfoSettings{
		Bump:       old.Bump, // a heartbeat of an earlier run is not taken over: it ends now
		Due:        uint64(d.cfg.Due),
		Hard:       uint64(d.cfg.Hard),
		Soft:       uint64(softLimit),
		Retry:      uint64(claimRetry),
		Prefer:     uint64(min(preferLimit, (d.cfg.Hard-d.cfg.Due)/4)),
		Check:      uint32(checkEvery / tick),
		MinPackets: d.cfg.MinPackets,
		Holds:      old.Holds,
		Mark:       d.cfg.Mark,
		KnownMask:  d.maps.Known.MaxEntries() - 1,
	}
	return d.writeSettings()
}

func (d *Datapath) writeSettings() error {
	if err := d.maps.Control.Put(uint32(0), &d.settings); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// Adopted says that Open found the state of an earlier run.
func (d *Datapath) Adopted() bool { return d.adopted }

// Bump starts a new generation: every lease is due now and dead in 100 ms unless the kernel forwards another packet
// of the flow in the same way.
func (d *Datapath) Bump() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.Bump = d.clock.now()
	return d.writeSettings()
}

// Heartbeat says that somebody watches who will Bump when anything changes, for two seconds from now. Meanwhile leases
// of active flows are as long as a budget of renewals needs, but at most longest, which must be well below every
// conntrack timeout: conntrack hears of a flow only when its lease is renewed. When the heartbeat stops, the
// configured limits are back.
func (d *Datapath) Heartbeat(active int, longest time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.settings
	due := max(d.cfg.Due, min(longest, time.Duration(active)*time.Second/renewalBudget))
	check := max(checkEvery, min(longest, time.Duration(active)*time.Second/checkBudget))
	s.LongDue, s.LongHard = uint64(due), uint64(due-d.cfg.Due+d.cfg.Hard)
	s.LongCheck = uint32(check / tick)
	s.Alive = d.clock.now() + uint64(heartbeat)
	return d.writeSettings()
}

// Close releases the file descriptors. What is attached stays attached and pinned.
func (d *Datapath) Close() error {
	var errs []error
	for _, p := range d.programs {
		errs = append(errs, p.Close())
	}
	errs = append(errs, d.maps.Close())
	return errors.Join(errs...)
}
