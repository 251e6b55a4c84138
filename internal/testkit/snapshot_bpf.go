package testkit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// bpf adds the programs, maps and links of the machine. An object that goes away while it is read is not there.
func (s State) bpf() error {
	counts := s.opts.BPF
	if counts == nil {
		counts = func(string) bool { return true }
	}
	programs, err := s.programs(counts)
	if err != nil {
		return fmt.Errorf("list eBPF programs: %w", err)
	}
	if err := s.maps(counts); err != nil {
		return fmt.Errorf("list eBPF maps: %w", err)
	}
	if err := s.links(programs); err != nil {
		return fmt.Errorf("list eBPF links: %w", err)
	}
	return nil
}

// programs returns the ids of those that count.
func (s State) programs(counts func(string) bool) (map[ebpf.ProgramID]bool, error) {
	ids := map[ebpf.ProgramID]bool{}
	for id := ebpf.ProgramID(0); ; {
		var err error
		id, err = ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := p.Info()
		_ = p.Close()
		if err != nil {
			return nil, err
		}
		if counts(info.Name) {
			ids[id] = true
			s.items[fmt.Sprintf("eBPF program %d", id)] = fmt.Sprintf("%s %s", info.Type, info.Name)
		}
	}
}

func (s State) maps(counts func(string) bool) error {
	for id := ebpf.MapID(0); ; {
		var err error
		id, err = ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := m.Info()
		_ = m.Close()
		if err != nil {
			return err
		}
		if counts(info.Name) {
			s.items[fmt.Sprintf("eBPF map %d", id)] = fmt.Sprintf("%s %s", info.Type, info.Name)
		}
	}
}

func (s State) links(programs map[ebpf.ProgramID]bool) error {
	for from := link.ID(0); ; {
		last, err := s.linksAfter(from, programs)
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
		// Somebody's link that is being made or given up: the kernel says EAGAIN where it pretends that there is none
		// (bpf_link_by_id of kernel/bpf/syscall.c). The iterator does not say which one it is, so step until past it.
		from = last + 1
	}
}

// linksAfter adds the links behind an id and returns the last one it has seen, or from.
func (s State) linksAfter(from link.ID, programs map[ebpf.ProgramID]bool) (last link.ID, err error) {
	it := &link.Iterator{ID: from}
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			return it.ID, err
		}
		if programs[info.Program] {
			s.items[fmt.Sprintf("eBPF link %d", it.ID)] = fmt.Sprintf("%v of program %d", info.Type, info.Program)
		}
	}
	return it.ID, it.Err()
}

// tree adds a directory tree, and nothing when it is missing.
func (s State) tree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // never there, or removed while we walk
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.items["file "+path] = info.Mode().String()
		return nil
	})
	if err != nil {
		return fmt.Errorf("list tree %s: %w", dir, err)
	}
	return nil
}
