package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// many opens and closes connections, each long enough to become fast, beside the talks.
func many() row {
	return row{
		name:   "connections opened and closed",
		plan:   plan{each: 2, launch: func(b *bed) *daemon.Daemon { return daemon.Start(b.t, b.r.Router, "--keep") }},
		script: openAndClose,
		short:  form{times: 1500, pairs: 1},
		full:   form{times: 10000, pairs: 2},
		what:   "Connections of eight messages each, closed by either end with FIN or RST, beside others that stay.",
		lost:   "nothing",
		proves: "every one was answered and closed as it should be; conntrack and flow table forget them; the daemon holds no more descriptors and memory than before; no adjacency is lost",
	}
}

// crowd is how many connections are open at once, and how many messages each of them exchanges: more than a direction
// needs to become fast.
const (
	crowd    = 8
	messages = 8
)

// manyPort is where the server of the many listens.
const manyPort = 7000

func openAndClose(b *bed, times int) {
	b.forgetful()
	b.crowd(times/10, 1) // what is made once is made now
	b.calm()
	before := b.daemonUses()
	b.visitors = times
	b.failed = b.crowd(times, 2)
	b.calm()
	b.usesNoMore(before)
	if b.full {
		// Directions that never became fast stay for the idle limit of the table (internal/datapath/sweep.go).
		b.forgets(90*time.Second, func(engine.Flow) bool { return true })
	}
	b.talkOn(2)
	b.carried()
	b.unproblematic()
	b.nothingMissing()
	b.adjacenciesReturn()
}

// forgetful makes conntrack forget closed connections within a test's time.
func (b *bed) forgetful() {
	b.t.Helper()
	for _, state := range []string{"time_wait", "close", "close_wait", "last_ack", "fin_wait"} {
		b.r.Router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_"+state, "2")
	}
}

// crowd opens and closes n connections and returns what went wrong with which.
func (b *bed) crowd(n int, round uint64) map[int]error {
	b.t.Helper()
	at := netip.AddrPortFrom(b.r.S0.Addr(false), manyPort)
	var l net.Listener
	err := b.r.Server.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { serve(l, &served) })
	defer served.Wait()
	defer l.Close() //nolint:errcheck // it ends serve

	failed := map[int]error{}
	var mu sync.Mutex
	var g errgroup.Group
	for worker := range crowd {
		g.Go(func() error {
			// One thread in the namespace for all connections of a worker: the socket is made on it.
			return b.r.Client.Do(func() error {
				for i := worker; i < n; i += crowd {
					if err := visit(at, rand.New(randomOf(b.seed<<20^round<<16^uint64(i)))); err != nil {
						mu.Lock()
						failed[i] = err
						mu.Unlock()
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		b.t.Fatal(err)
	}
	return failed
}

// Ways to close a connection; the first message says which.
const (
	clientCloses = iota
	serverCloses
	clientResets
	serverResets
	waysToClose
)

// visit is one connection: messages and their echoes, then the end.
func visit(at netip.AddrPort, random *rand.Rand) error {
	nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", at.String())
	if err != nil {
		return err
	}
	defer nc.Close() //nolint:errcheck // closed below, in the way that is tested
	c := nc.(*net.TCPConn)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	way := byte(random.IntN(waysToClose))
	for i := range messages {
		sent := make([]byte, smallest+random.IntN(largest/4))
		for i := range sent {
			sent[i] = byte(random.Uint32())
		}
		sent[0] = way
		if i == messages-1 {
			sent[0] |= last
		}
		if err := oneMessage(c, sent); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return leave(c, way)
}

// last marks the last message of a connection.
const last = 0x80

// oneMessage sends a length and that many bytes, and compares what comes back.
func oneMessage(c *net.TCPConn, sent []byte) error {
	if _, err := c.Write(append([]byte{byte(len(sent) >> 8), byte(len(sent))}, sent...)); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(sent) {
		return errors.New("the echo is not what was sent")
	}
	return nil
}

// leave closes the client's end and sees that the server's end comes as it should.
func leave(c *net.TCPConn, way byte) error {
	switch way {
	case clientResets:
		return c.SetLinger(0) // and then closed
	case clientCloses:
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := c.Read(make([]byte, 1))
	if reset := way == serverResets; reset != errors.Is(err, unix.ECONNRESET) || !reset && !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end, closed in way %d: %w", way, err)
	}
	return nil
}

// serve answers until the listener is closed.
func serve(l net.Listener, served *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		served.Go(func() { host(c.(*net.TCPConn)) })
	}
}

// host is the server's end of one connection. What goes wrong here, the client sees.
func host(c *net.TCPConn) {
	defer c.Close() //nolint:errcheck // closed below, in the way that is tested
	if c.SetDeadline(time.Now().Add(patience)) != nil {
		return
	}
	for {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		b := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
		if b[0]&last == 0 {
			continue
		}
		switch b[0] &^ last {
		case serverCloses:
			return
		case serverResets:
			_ = c.SetLinger(0)
			return
		default:
			_, _ = c.Read(head[:1])
			return
		}
	}
}

// calm waits until conntrack has forgotten the many, and so has the flow table.
func (b *bed) calm() {
	b.t.Helper()
	const limit = 30 * time.Second // conntrack's garbage collection takes turns
	testkit.MustAwait(b.t, limit, func() error {
		n := 0
		for _, e := range b.tracked() {
			if e.Orig.Proto == packet.TCP && e.Orig.Dst.Port() == manyPort {
				n++
			}
		}
		return errUnless(n == 0, fmt.Sprintf("%d of the connections are still tracked", n))
	})
	b.forgets(limit, func(f engine.Flow) bool { return f.State != "learned" })
}

// forgets waits until no flow of the many is in the table that counts.
func (b *bed) forgets(limit time.Duration, counts func(engine.Flow) bool) {
	b.t.Helper()
	if b.d == nil {
		return
	}
	testkit.MustAwait(b.t, limit, func() error {
		n := 0
		for _, f := range b.d.Flows() {
			if (f.Src.Port() == manyPort || f.Dst.Port() == manyPort) && counts(f) {
				n++
			}
		}
		return errUnless(n == 0, fmt.Sprintf("%d directions of the connections are still in the flow table", n))
	})
}

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
