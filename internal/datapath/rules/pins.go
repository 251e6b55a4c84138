package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// pinnedMap adopts a map that is pinned, or makes one and pins it. One of another shape is replaced: it is another
// version's, whose programs are about to go.
func pinnedMap(pin string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err == nil {
		if err := spec.Compatible(m); err == nil {
			return m, nil
		}
		if err := errors.Join(m.Close(), os.Remove(pin)); err != nil {
			return nil, fmt.Errorf("replace %s: %w", pin, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", pin, err)
	}
	if m, err = ebpf.NewMap(spec); err != nil {
		return nil, fmt.Errorf("make map %s: %w", spec.Name, err)
	}
	if err := m.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pin %s: %w", pin, err), m.Close())
	}
	return m, nil
}

// A note is bytes in a pinned map: the bpf file system has no files, and nothing else is gone exactly when the pins are.
// The bytes begin with their number, of noteHead bytes.
const (
	notePage = 4096
	noteHead = 8
)

// writeNote puts the bytes in place of what was pinned there, in one step.
func writeNote(pin string, text []byte) error {
	b := binary.NativeEndian.AppendUint64(make([]byte, 0, noteHead+len(text)), uint64(len(text)))
	b = append(b, text...)
	pages := uint32((len(b) + notePage - 1) / notePage)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "nfo_note", Type: ebpf.Array, KeySize: 4, ValueSize: notePage, MaxEntries: pages})
	if err != nil {
		return fmt.Errorf("write %s: make map: %w", pin, err)
	}
	defer m.Close() //nolint:errcheck // what is pinned stays
	page := make([]byte, notePage)
	for i := range pages {
		clear(page)
		copy(page, b[i*notePage:])
		if err := m.Put(i, page); err != nil {
			return fmt.Errorf("write %s: %w", pin, err)
		}
	}
	next := pin + "_new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write %s: %w", pin, err)
	}
	if err := m.Pin(next); err != nil {
		return fmt.Errorf("write %s: pin: %w", pin, err)
	}
	if err := os.Rename(next, pin); err != nil {
		return fmt.Errorf("write %s: %w", pin, err)
	}
	return nil
}

// readNote returns the bytes; the error is os.ErrNotExist where there are none.
func readNote(pin string) ([]byte, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", pin, err)
	}
	defer m.Close() //nolint:errcheck // nothing was written
	if m.ValueSize() != notePage {
		return nil, fmt.Errorf("read %s: pages of %d bytes", pin, m.ValueSize())
	}
	var b []byte
	page := make([]byte, notePage)
	for i := range m.MaxEntries() {
		if err := m.Lookup(i, &page); err != nil {
			return nil, fmt.Errorf("read %s: %w", pin, err)
		}
		b = append(b, page...)
	}
	n := binary.NativeEndian.Uint64(b)
	if n > uint64(len(b)-noteHead) {
		return nil, fmt.Errorf("read %s: %d bytes of %d", pin, len(b)-noteHead, n)
	}
	return b[noteHead : noteHead+n], nil
}
