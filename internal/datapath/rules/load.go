package rules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/plan/share"
)

// Device is what a program is loaded for.
type Device struct {
	Name   string
	Hook   share.Hook
	Share  *share.Share    // that the program was made of
	Legend []Rule          // the rule of each slot of counters
	Made   *bpfgen.Program // by bpfgen.Compile
}

// Loaded is a program that the verifier has accepted. It runs from when Entry is attached until something else is in
// its place; then End it.
type Loaded struct {
	Entry *ebpf.Program
	// Next is the program array through which it goes on, at bpfgen.NextSlot; nil where it never does.
	Next *ebpf.Map

	parent *Programs
	device string
	chunks []*ebpf.Program
	maps   map[string]*ebpf.Map // its own
	sets   []setKey
	gen    *generation
}

// RefusedError is a program that the kernel's verifier refused.
type RefusedError struct {
	Device string
	Chunk  string
	Said   string // the verifier's last words
	Err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("load the rules of %s: program %s: %s", e.Device, e.Chunk, e.Said)
}

// Unwrap returns what the loader said.
func (e *RefusedError) Unwrap() error { return e.Err }

// Load makes the maps and the programs of a device. Nothing is attached. The error is *RefusedError where the verifier
// refused it.
func (p *Programs) Load(dev Device) (*Loaded, error) {
	l := &Loaded{parent: p, device: dev.Name, maps: map[string]*ebpf.Map{}}
	all, err := l.makeMaps(dev)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the rules of %s: %w", dev.Name, err), l.release())
	}
	for i, c := range dev.Made.Chunks {
		prog, err := loadChunk(dev, c, all)
		if err != nil {
			return nil, errors.Join(err, l.release())
		}
		l.chunks = append(l.chunks, prog)
		if i == 0 || l.Next == nil {
			continue
		}
		if err := l.Next.Put(uint32(i), uint32(prog.FD())); err != nil {
			return nil, errors.Join(fmt.Errorf("load the rules of %s: join chunks: %w", dev.Name, err), l.release())
		}
	}
	if len(l.chunks) == 0 {
		return nil, errors.Join(fmt.Errorf("load the rules of %s: the program is empty", dev.Name), l.release())
	}
	l.Entry = l.chunks[0]
	p.mu.Lock()
	defer p.mu.Unlock()
	about := legend{Device: dev.Name, Rules: dev.Legend}
	if l.gen, err = p.ledger.begin(l.maps[bpfgen.ScratchMap], l.maps[bpfgen.CounterMap], about); err != nil {
		return nil, errors.Join(fmt.Errorf("load the rules of %s: %w", dev.Name, err), l.release())
	}
	return l, nil
}

// makeMaps returns the maps by the names that instructions have for them.
func (l *Loaded) makeMaps(dev Device) (map[string]*ebpf.Map, error) {
	all := map[string]*ebpf.Map{bpfgen.LeaseMap: l.parent.lease.word}
	for _, m := range dev.Made.Maps {
		if m.Name == bpfgen.LeaseMap {
			continue
		}
		if m.Set >= 0 {
			key, made, err := l.parent.sets.take(dev.Share.Sets[m.Set], m)
			if err != nil {
				return nil, err
			}
			l.sets = append(l.sets, key)
			all[m.Name] = made
			continue
		}
		made, err := ebpf.NewMap(mapSpec(m))
		if err != nil {
			return nil, fmt.Errorf("make map %s: %w", m.Name, err)
		}
		l.maps[m.Name], all[m.Name] = made, made
		if err := fill(made, m); err != nil {
			return nil, fmt.Errorf("fill map %s: %w", m.Name, err)
		}
	}
	l.Next = l.maps[bpfgen.ChunkMap]
	return all, nil
}

// mapSpec is a map as the kernel is asked for it.
func mapSpec(m bpfgen.Map) *ebpf.MapSpec {
	s := &ebpf.MapSpec{Name: "nfo_" + m.Name, KeySize: m.KeySize, ValueSize: m.ValueSize, MaxEntries: m.Entries}
	if len(s.Name) >= unix.BPF_OBJ_NAME_LEN {
		s.Name = s.Name[:unix.BPF_OBJ_NAME_LEN-1]
	}
	switch m.Kind {
	case bpfgen.Hash:
		s.Type = ebpf.Hash
		if m.NoPrealloc {
			s.Flags |= unix.BPF_F_NO_PREALLOC
		}
	case bpfgen.Array:
		s.Type = ebpf.Array
	case bpfgen.PerCPUArray:
		s.Type = ebpf.PerCPUArray
	case bpfgen.ProgArray:
		s.Type = ebpf.ProgramArray
	case bpfgen.Tree:
		s.Type, s.Flags = ebpf.Array, unix.BPF_F_MMAPABLE
	}
	return s
}

// batch is how many elements are written with one system call.
const batch = 4096

// fill writes what is in a map from the start.
func fill(m *ebpf.Map, want bpfgen.Map) error {
	for part := range slices.Chunk(want.Contents, batch) {
		var keys, values packed
		for _, p := range part {
			if len(p.Key) != int(want.KeySize) || len(p.Value) != int(want.ValueSize) {
				return fmt.Errorf("an element of %d and %d bytes, not %d and %d", len(p.Key), len(p.Value), want.KeySize, want.ValueSize)
			}
			keys, values = append(keys, p.Key), append(values, p.Value)
		}
		if _, err := m.BatchUpdate(keys, values, nil); err != nil {
			return err
		}
	}
	return nil
}

// packed are keys or values that the kernel takes one after another.
type packed [][]byte

// MarshalBinary implements encoding.BinaryMarshaler.
func (p packed) MarshalBinary() ([]byte, error) { return bytes.Join(p, nil), nil }

// loadChunk loads one program with its maps in place of their names.
func loadChunk(dev Device, c bpfgen.Chunk, all map[string]*ebpf.Map) (*ebpf.Program, error) {
	spec := &ebpf.ProgramSpec{
		Name: "nfo_" + c.Name, Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: slices.Clone(c.Instructions),
	}
	if dev.Hook == share.XDP {
		spec.Type, spec.AttachType = ebpf.XDP, ebpf.AttachXDP
	}
	for name, refs := range spec.Instructions.ReferenceOffsets() {
		m := all[name]
		if m == nil {
			continue // a label
		}
		for _, i := range refs {
			if err := spec.Instructions[i].AssociateMap(m); err != nil {
				return nil, fmt.Errorf("load the rules of %s: map %s: %w", dev.Name, name, err)
			}
		}
	}
	prog, err := ebpf.NewProgram(spec)
	if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		return nil, &RefusedError{Device: dev.Name, Chunk: c.Name, Said: lastWords(v), Err: err}
	}
	if err != nil {
		return nil, &RefusedError{Device: dev.Name, Chunk: c.Name, Said: err.Error(), Err: err}
	}
	return prog, nil
}

// lastWords are the lines of the verifier's log that say why.
func lastWords(v *ebpf.VerifierError) string {
	const lines = 2
	var said []string
	for _, line := range slices.Backward(v.Log) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "processed ") || strings.HasPrefix(line, "verification time") || strings.HasPrefix(line, "stack depth") {
			continue
		}
		if said = append(said, line); len(said) == lines {
			break
		}
	}
	slices.Reverse(said)
	if len(said) == 0 {
		return v.Cause.Error()
	}
	return strings.Join(said, ": ")
}

// End says that the program runs no more: something else is in its place. Its counters are kept.
func (l *Loaded) End() error {
	l.parent.mu.Lock()
	l.gen.ended = time.Now()
	l.parent.mu.Unlock()
	return l.release()
}

// release closes what is the program's own.
func (l *Loaded) release() error {
	var errs []error
	for _, c := range l.chunks {
		errs = append(errs, c.Close())
	}
	for _, name := range slices.Sorted(maps.Keys(l.maps)) {
		errs = append(errs, l.maps[name].Close())
	}
	for _, k := range l.sets {
		errs = append(errs, l.parent.sets.giveBack(k))
	}
	l.chunks, l.maps, l.sets = nil, nil, nil
	return errors.Join(errs...)
}
