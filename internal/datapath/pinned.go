package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// Pinned is a look at a datapath that somebody else runs, or has left: nothing is loaded, attached or written.
type Pinned struct{ d *Datapath }

// Look opens the maps that are pinned in a directory. The error is os.ErrNotExist where there is no datapath, and
// ErrIncompatible where it is another version's.
func Look(dir string) (*Pinned, error) {
	if _, err := os.Stat(filepath.Join(dir, "control")); err != nil {
		return nil, fmt.Errorf("look at datapath: %w", err)
	}
	clock, err := newClock()
	if err != nil {
		return nil, err
	}
	d := &Datapath{cfg: Config{Dir: dir}, clock: clock}
	if err := d.lookAtMaps(); err != nil {
		return nil, errors.Join(fmt.Errorf("look at datapath: %w", err), d.maps.Close())
	}
	if err := d.maps.Control.Lookup(uint32(0), &d.settings); err != nil {
		return nil, errors.Join(fmt.Errorf("look at datapath: read settings: %w", err), d.maps.Close())
	}
	d.cfg.Hard, d.cfg.MinPackets, d.cfg.Mark = time.Duration(d.settings.Hard), d.settings.MinPackets, d.settings.Mark
	d.cfg.MaxFlows = d.maps.Flows4.MaxEntries()
	return &Pinned{d}, nil
}

// lookAtMaps opens those that a look needs.
func (d *Datapath) lookAtMaps() error {
	spec, err := d.spec()
	if err != nil {
		return err
	}
	for name, m := range map[string]**ebpf.Map{
		"flows4": &d.maps.Flows4, "flows6": &d.maps.Flows6, "adjs": &d.maps.Adjs, "control": &d.maps.Control,
		"stats": &d.maps.Stats, "refused": &d.maps.Refused, "passed": &d.maps.Passed,
	} {
		var err error
		*m, err = ebpf.LoadPinnedMap(filepath.Join(d.cfg.Dir, name), &ebpf.LoadPinOptions{ReadOnly: true})
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: it has no %s", ErrIncompatible, name)
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		want := spec.Maps[name].Copy()
		if name == "flows4" || name == "flows6" {
			want.MaxEntries = (*m).MaxEntries()
		}
		if err := want.Compatible(*m); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrIncompatible, name, err)
		}
	}
	return nil
}

// Close gives up the descriptors.
func (p *Pinned) Close() error { return p.d.maps.Close() }

// Flows is Datapath.Flows.
func (p *Pinned) Flows() ([]Flow, error) { return p.d.Flows() }

// Refused is Datapath.Refused.
func (p *Pinned) Refused() ([]Refused, error) { return p.d.Refused() }

// Passed is Datapath.Passed.
func (p *Pinned) Passed() ([]Refused, error) { return p.d.Passed() }

// Stats is Datapath.Stats.
func (p *Pinned) Stats() (Stats, error) { return p.d.Stats() }

// MinPackets is how many packets of a direction come before an entry is made.
func (p *Pinned) MinPackets() uint32 { return p.d.cfg.MinPackets }

// Attached lists where programs are pinned to a device: "xdp", "ingress", "egress".
func (p *Pinned) Attached(ifindex uint32) ([]string, error) {
	entries, err := os.ReadDir(p.d.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	var out []string
	for _, e := range entries {
		for _, kind := range []string{"link", "clsact"} {
			place, ok := strings.CutPrefix(e.Name(), fmt.Sprintf("%s-%d-", kind, ifindex))
			if ok && (place == placeXDP || place == placeIngress || place == placeEgress) {
				out = append(out, place)
			}
		}
	}
	return out, nil
}
