package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// forgetGone removes what is known of loads in network namespaces that do not exist any more, or of an earlier boot: nobody
// can ask for that. It returns the inodes of the namespaces.
func (p places) forgetGone() ([]uint64, error) {
	files, err := filepath.Glob(filepath.Join(p.state, "*.load"))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	alive, err := namespacesInUse()
	if err != nil {
		return nil, err
	}
	var gone []uint64
	var errs []error
	for _, f := range files {
		ns, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(f), ".load"), 10, 64)
		if err != nil || alive[ns] && bootOf(f) == boot {
			continue
		}
		hold, err := acquire(p.loadLock(ns))
		if _, ok := errors.AsType[*runningError](err); ok {
			continue // its guard lives in it
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(p.loadSocket(ns)), os.RemoveAll(f+".new"), p.forgetLoad(ns), hold.release())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("forget the load in network namespace %d, which is gone: %w", ns, err))
			continue
		}
		gone = append(gone, ns)
	}
	return gone, errors.Join(errs...)
}

// bootOf is the boot in which a record was written; what cannot be read is of none.
func bootOf(file string) string {
	var r loadRecord
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &r) != nil {
		return ""
	}
	return r.Boot
}

// bootID tells this boot from others (random(4)).
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify this boot: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// namespacesInUse are the inodes of the network namespaces that have a process or a name (ip-netns(8)).
func namespacesInUse() (map[uint64]bool, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("look for network namespaces: %w", err)
	}
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		return nil, fmt.Errorf("look for network namespaces: %w", err)
	}
	in := map[uint64]bool{}
	for _, path := range append(slices.Concat(processes, names), "/proc/thread-self/ns/net") {
		if ns, err := namespaceAt(path); err == nil { // else it ended meanwhile
			in[ns] = true
		}
	}
	return in, nil
}
