package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// uses is what a process holds.
type uses struct {
	files    int
	resident int // KiB
}

func (b *bed) daemonUses() uses {
	b.t.Helper()
	if b.d == nil {
		return uses{}
	}
	var u uses
	proc := fmt.Sprintf("/proc/%d", b.d.PID())
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		b.t.Fatal(err)
	}
	u.files = len(files)
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(value, &u.resident); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	return u
}

// slack is by how much the daemon's memory may grow, KiB: its garbage collector lets the heap double between two
// collections, and the heap is a few MiB.
const slack = 16 << 10

// usesNoMore waits until the daemon holds no more than before: a question to it that was just answered is a descriptor.
func (b *bed) usesNoMore(before uses) {
	b.t.Helper()
	testkit.MustAwait(b.t, settle, func() error {
		u := b.daemonUses()
		return errUnless(u.files <= before.files && u.resident <= before.resident+slack, fmt.Sprintf("the daemon uses %+v, before %+v", u, before))
	})
}

// adjacencies is how many there are: the size of the map adjs, less slot 0, which is never used (bpf/flow.h).
const adjacencies = 4096 - 1

// adjacenciesReturn ends the daemon, whose datapath stays, and counts: an adjacency that is in neither the index nor the
// queue of free ones is lost for good.
func (b *bed) adjacenciesReturn() {
	b.t.Helper()
	if b.d == nil {
		return
	}
	b.tally()
	left := b.objects()
	if err := b.d.Stop(); err != nil {
		b.t.Error(err)
	}
	used, err := countKeys(filepath.Join(b.d.Pins(), "adj_ids"))
	if err != nil {
		b.t.Fatal(err)
	}
	free, err := drain(filepath.Join(b.d.Pins(), "adj_free"))
	if err != nil {
		b.t.Fatal(err)
	}
	if used+free != adjacencies {
		b.t.Errorf("%d adjacencies are in use and %d free, of %d", used, free, adjacencies)
	}
	if out, err := daemon.Command(b.t, b.r.Router, "withdraw"); err != nil {
		b.t.Errorf("withdraw: %v: %s", err, out)
	}
	b.nothingLeft(b.d.Pins(), left)
	b.d = nil
}

func countKeys(pin string) (int, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return 0, err
	}
	defer m.Close() //nolint:errcheck // nothing was written
	n := 0
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	it := m.Iterate()
	for it.Next(&key, &value) {
		n++
	}
	return n, it.Err()
}

// drain empties a queue and counts what was in it.
func drain(pin string) (int, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return 0, err
	}
	defer m.Close() //nolint:errcheck // the map goes away
	for n := 0; ; n++ {
		var id uint32
		err := m.LookupAndDelete(nil, &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
