package testkit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// UDPOptions says what a UDP flow sends.
type UDPOptions struct {
	Size  int   // payload bytes a datagram, at least and by default UDPMinSize
	Sizes []int // of datagrams in turn, in place of Size
	// OneWay leaves out the echo: nothing flows back.
	OneWay bool
}

// UDPMinSize is the smallest payload of a UDPFlow, bytes: sequence number (8) and CRC-32C (4).
const UDPMinSize = 12

// UDPCount says what arrived at one end.
type UDPCount struct {
	Received   uint64 // different datagrams
	Duplicated uint64 // copies of one received before
	Reordered  uint64 // overtaken by a later one
	Corrupt    uint64 // wrong length or checksum
	Last       time.Time
}

// UDPStats is what happened on a flow so far. Lost ones are Sent - Up.Received on the way up and
// Up.Received - Down.Received on the way down, once nothing is on its way any more.
type UDPStats struct {
	Sent     uint64
	Up, Down UDPCount       // at the server; at the client (echoes)
	Seen     netip.AddrPort // the client's address as the server sees it; the last one
	SeenAll  int            // how many different ones there were
	Errors   []error        // of sockets: ICMP errors come back as these
}

// Whole reports nil when every datagram made the way there and back exactly once, in order and intact.
func (s UDPStats) Whole() error {
	clean := func(c UDPCount) bool { return c.Received == s.Sent && c.Duplicated+c.Reordered+c.Corrupt == 0 }
	if !clean(s.Up) || !clean(s.Down) || len(s.Errors) > 0 {
		return fmt.Errorf("udp flow: sent %d, server %+v, client %+v, socket errors %v", s.Sent, s.Up, s.Down, s.Errors)
	}
	return nil
}

// UDPFlow is a client that sends numbered datagrams and a server that sends each back.
type UDPFlow struct {
	opts           UDPOptions
	client, server *net.UDPConn
	local          netip.AddrPort
	arrived        chan struct{} // one token when something arrived
	done           sync.WaitGroup
	stop           chan struct{} // closed by Stop; nil while nothing is sent
	sender         sync.WaitGroup

	mu       sync.Mutex
	stats    UDPStats
	seen     map[netip.AddrPort]struct{}
	up, down sequence
	closed   bool
}

// OpenUDP opens both sockets of a flow along the path; they are closed at the end of the test. Nothing is sent yet.
func OpenUDP(t testing.TB, p Path, o UDPOptions) *UDPFlow {
	t.Helper()
	f, err := openUDP(p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func openUDP(p Path, o UDPOptions) (*UDPFlow, error) {
	f := &UDPFlow{opts: o, arrived: make(chan struct{}, 1), seen: map[netip.AddrPort]struct{}{}}
	if len(o.Sizes) == 0 {
		f.opts.Sizes = []int{o.Size}
	}
	err := p.Server.Do(func() error {
		var c net.ListenConfig
		pc, err := c.ListenPacket(context.Background(), "udp", p.listen().String())
		if err != nil {
			return fmt.Errorf("open server of udp flow: %w", err)
		}
		f.server = pc.(*net.UDPConn)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = p.Client.Do(func() (err error) {
		var bind *net.UDPAddr
		if p.Bind.IsValid() {
			bind = net.UDPAddrFromAddrPort(p.Bind)
		}
		f.client, err = net.DialUDP("udp", bind, net.UDPAddrFromAddrPort(p.Dial))
		return err
	})
	if err != nil {
		_ = f.server.Close()
		return nil, fmt.Errorf("open client of udp flow: %w", err)
	}
	const queue = 4 << 20 // bytes: a stalled reader must not look like a lost packet
	for _, c := range []*net.UDPConn{f.client, f.server} {
		if err := c.SetReadBuffer(queue); err != nil {
			f.Close()
			return nil, fmt.Errorf("set udp read buffer: %w", err)
		}
	}
	f.local = addrPort(f.client.LocalAddr())
	f.done.Go(f.serve)
	f.done.Go(f.hear)
	return f, nil
}

// Local returns the client's own address, before any NAT.
func (f *UDPFlow) Local() netip.AddrPort { return f.local }

// Stats returns the counts so far.
func (f *UDPFlow) Stats() UDPStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.SeenAll = len(f.seen)
	return s
}

// Exchange sends n datagrams, rate a second, waits until the echo of each is back or nothing has arrived for
// quiet, and returns what these n did: the counts of this call alone.
func (f *UDPFlow) Exchange(n, rate int, quiet time.Duration) UDPStats {
	before := f.Stats()
	p := newPacer(rate)
	for range n {
		p.wait(nil)
		f.send()
	}
	p.stop()
	f.settle(quiet)
	return f.Stats().since(before)
}

// Start sends rate datagrams a second until Stop.
func (f *UDPFlow) Start(rate int) {
	stop := make(chan struct{})
	f.stop = stop
	f.sender.Go(func() {
		p := newPacer(rate)
		defer p.stop()
		for p.wait(stop) {
			f.send()
		}
	})
}

// Stop ends Start, waits until every echo is back or nothing has arrived for quiet, and returns all counts.
func (f *UDPFlow) Stop(quiet time.Duration) UDPStats {
	f.halt()
	f.settle(quiet)
	return f.Stats()
}

func (f *UDPFlow) halt() {
	if f.stop != nil {
		close(f.stop)
		f.stop = nil
	}
	f.sender.Wait()
}

// Close ends the flow and closes its sockets; more than once is fine.
func (f *UDPFlow) Close() {
	f.halt()
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	_ = f.client.Close()
	_ = f.server.Close()
	f.done.Wait()
}

// settle waits until all that was sent is accounted for, or nothing arrived for quiet.
func (f *UDPFlow) settle(quiet time.Duration) {
	for {
		s := f.Stats()
		last := s.Down
		if f.opts.OneWay {
			last = s.Up
		}
		if last.Received >= s.Sent {
			return
		}
		select {
		case <-f.arrived:
		case <-time.After(quiet):
			return
		}
	}
}

func (f *UDPFlow) send() {
	f.mu.Lock()
	seq := f.stats.Sent
	f.stats.Sent++
	f.mu.Unlock()
	b := make([]byte, f.size(seq))
	binary.BigEndian.PutUint64(b, seq)
	for i := UDPMinSize; i < len(b); i++ {
		b[i] = byte(seq) + byte(i)
	}
	binary.BigEndian.PutUint32(b[8:], datagramSum(b))
	if _, err := f.client.Write(b); err != nil {
		f.fail(fmt.Errorf("send datagram %d: %w", seq, err))
	}
}

// size is that of a datagram.
func (f *UDPFlow) size(seq uint64) int {
	return max(UDPMinSize, f.opts.Sizes[seq%uint64(len(f.opts.Sizes))])
}

func datagramSum(b []byte) uint32 {
	table := crcTable()
	return crc32.Update(crc32.Checksum(b[:8], table), table, b[UDPMinSize:])
}

// maxSocketErrors bounds UDPStats.Errors; an unreachable port would fill it with every packet.
const maxSocketErrors = 16

func (f *UDPFlow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed && len(f.stats.Errors) < maxSocketErrors {
		f.stats.Errors = append(f.stats.Errors, err)
	}
}

func (f *UDPFlow) serve() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := f.server.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.fail(fmt.Errorf("server: %w", err))
			continue
		}
		if !f.note(b[:n], from) || f.opts.OneWay {
			continue
		}
		if _, err := f.server.WriteToUDPAddrPort(b[:n], from); err != nil && !errors.Is(err, net.ErrClosed) {
			f.fail(fmt.Errorf("echo: %w", err))
		}
	}
}

func (f *UDPFlow) hear() {
	b := make([]byte, 1<<16)
	for {
		n, err := f.client.Read(b)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			f.fail(fmt.Errorf("client: %w", err))
			continue
		}
		f.note(b[:n], netip.AddrPort{})
	}
}

// note counts one arrival; from is valid at the server. It reports whether the datagram is intact.
func (f *UDPFlow) note(b []byte, from netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	count, seq := &f.stats.Down, &f.down
	if from.IsValid() {
		count, seq = &f.stats.Up, &f.up
		f.stats.Seen = from
		f.seen[from] = struct{}{}
	}
	count.Last = time.Now()
	select {
	case f.arrived <- struct{}{}:
	default:
	}
	if len(b) < UDPMinSize || binary.BigEndian.Uint32(b[8:]) != datagramSum(b) ||
		binary.BigEndian.Uint64(b) >= f.stats.Sent || len(b) != f.size(binary.BigEndian.Uint64(b)) {
		count.Corrupt++
		return false
	}
	switch n := binary.BigEndian.Uint64(b); {
	case seq.has(n):
		count.Duplicated++
	case n < seq.next:
		count.Reordered++
		fallthrough
	default:
		count.Received++
		seq.add(n)
	}
	return true
}

// since returns the counts from an earlier state on; Seen, SeenAll and Last are those of now.
func (s UDPStats) since(e UDPStats) UDPStats {
	sub := func(a, b UDPCount) UDPCount {
		return UDPCount{a.Received - b.Received, a.Duplicated - b.Duplicated, a.Reordered - b.Reordered, a.Corrupt - b.Corrupt, a.Last}
	}
	s.Sent -= e.Sent
	s.Up, s.Down = sub(s.Up, e.Up), sub(s.Down, e.Down)
	s.Errors = s.Errors[len(e.Errors):]
	return s
}

// sequence remembers which numbers came: one bit each.
type sequence struct {
	bits []uint64
	next uint64 // one above the highest that came
}

func (s *sequence) has(n uint64) bool {
	return n/64 < uint64(len(s.bits)) && s.bits[n/64]&(1<<(n%64)) != 0
}

func (s *sequence) add(n uint64) {
	for uint64(len(s.bits)) <= n/64 {
		s.bits = append(s.bits, 0)
	}
	s.bits[n/64] |= 1 << (n % 64)
	s.next = max(s.next, n+1)
}
