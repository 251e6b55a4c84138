package testkit

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// TCPPair is both ends of one TCP connection, held by the test. The ends are ordinary sockets in their namespaces
// and may be used from any goroutine.
type TCPPair struct {
	Client, Server *net.TCPConn
	// Seen is the peer's address as the server sees it: behind source NAT not the client's own.
	Seen netip.AddrPort
}

// connectTimeout bounds the handshake: one lost SYN is sent again after a second.
const connectTimeout = 5 * time.Second

// ConnectTCP makes one connection along the path; what the test leaves open is closed at its end. A positive mss clamps the segments of both directions to so many
// payload bytes, timestamps option included (so 12 bytes less remain on most hosts).
func ConnectTCP(t testing.TB, p Path, mss int) (*TCPPair, error) {
	t.Helper()
	l, err := p.Server.listenTCP(p.listen(), mss)
	if err != nil {
		return nil, err
	}
	defer l.Close() //nolint:errcheck // one connection only; nothing is lost
	pair := &TCPPair{}
	t.Cleanup(pair.Abort)
	var g errgroup.Group
	g.Go(func() error {
		if err := l.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
			return err
		}
		c, err := l.AcceptTCP()
		if err != nil {
			return fmt.Errorf("accept in %s: %w", p.Server.Name, err)
		}
		pair.Server = c
		pair.Seen = addrPort(c.RemoteAddr())
		return nil
	})
	g.Go(func() error {
		c, err := p.Client.dialTCP(p.Bind, p.Dial, mss, connectTimeout)
		if err != nil {
			return err
		}
		pair.Client = c
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return pair, nil
}

// Local returns the client's own address, before any NAT.
func (p *TCPPair) Local() netip.AddrPort { return addrPort(p.Client.LocalAddr()) }

// addrPort returns a socket's address; IPv4 stays IPv4 where the standard library gives it as mapped IPv6.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Load says what a transfer moves.
type Load struct {
	Up, Down int64 // bytes, client to server and back; both directions run at once
	// Rate paces each direction to so many writes a second, of Size bytes each. 0: as fast as it goes.
	// Nagle is off, so on a connection that keeps up each write is one packet.
	Rate int
	Size int // with Rate: bytes a write; default 100
	// Timeout bounds the whole transfer; default 30 s.
	Timeout time.Duration
}

// Transferred is what a transfer moved.
type Transferred struct {
	Up, Down int64 // bytes that arrived
	Duration time.Duration
	Retrans  uint32 // segments sent again during it, both ends
}

// Transfer moves bytes in both directions at once and compares what arrived with what was sent. The connection stays
// open and may transfer again. On an error the counts say how far it came.
func (p *TCPPair) Transfer(l Load) (Transferred, error) {
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	if l.Size == 0 {
		l.Size = 100
	}
	begin := time.Now()
	if err := p.deadline(begin.Add(l.Timeout)); err != nil {
		return Transferred{}, err
	}
	before, err := p.Retransmits()
	if err != nil {
		return Transferred{}, err
	}
	var out Transferred
	var g errgroup.Group
	g.Go(func() (err error) {
		out.Up, err = move(p.Client, p.Server, l.Up, l, 1)
		return wrap("transfer up", err)
	})
	g.Go(func() (err error) {
		out.Down, err = move(p.Server, p.Client, l.Down, l, 2)
		return wrap("transfer down", err)
	})
	err = g.Wait()
	out.Duration = time.Since(begin)
	if after, ierr := p.Retransmits(); ierr == nil {
		out.Retrans = after - before
	}
	return out, errors.Join(err, p.deadline(time.Time{}))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (p *TCPPair) deadline(t time.Time) error {
	return errors.Join(p.Client.SetDeadline(t), p.Server.SetDeadline(t))
}

// move sends n pattern bytes from one end to the other and returns how many arrived.
func move(from, to *net.TCPConn, n int64, l Load, seed uint64) (int64, error) {
	sent, got := newHashed(), newHashed()
	var g errgroup.Group
	g.Go(func() error {
		src := io.TeeReader(io.LimitReader(newPattern(seed), n), sent)
		if l.Rate > 0 {
			return paced(from, src, l.Rate, l.Size)
		}
		_, err := io.CopyBuffer(onlyWriter{from}, src, make([]byte, patternBlock))
		return wrap("send", err)
	})
	g.Go(func() error {
		_, err := io.CopyBuffer(got, io.LimitReader(onlyReader{to}, n), make([]byte, 4*patternBlock))
		if err == nil && got.n < n {
			err = io.ErrUnexpectedEOF
		}
		return wrap(fmt.Sprintf("receive (%d of %d bytes)", got.n, n), err)
	})
	if err := g.Wait(); err != nil {
		return got.n, err
	}
	if sent.h.Sum32() != got.h.Sum32() {
		return got.n, fmt.Errorf("compare payload: sent %08x, received %08x", sent.h.Sum32(), got.h.Sum32())
	}
	return got.n, nil
}

// onlyWriter and onlyReader hide ReadFrom and WriteTo, so that the buffers given are used.
type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }

// paced writes src in pieces of size bytes, rate of them a second. A late tick is made up for, so the mean holds.
func paced(to *net.TCPConn, src io.Reader, rate, size int) error {
	buf := make([]byte, size)
	p := newPacer(rate)
	defer p.stop()
	for {
		p.wait(nil)
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Exchange sends n bytes from the client, lets the server send the same bytes back, and compares. It is one round of
// a keep-alive connection.
func (p *TCPPair) Exchange(n int64, timeout time.Duration) error {
	if err := p.deadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	sent, got := newHashed(), newHashed()
	var g errgroup.Group
	g.Go(func() error {
		_, err := io.Copy(onlyWriter{p.Client}, io.TeeReader(io.LimitReader(newPattern(3), n), sent))
		return wrap("send", err)
	})
	g.Go(func() error {
		_, err := io.CopyN(onlyWriter{p.Server}, onlyReader{p.Server}, n)
		return wrap("echo", err)
	})
	g.Go(func() error {
		_, err := io.CopyN(got, p.Client, n)
		return wrap(fmt.Sprintf("receive (%d of %d bytes)", got.n, n), err)
	})
	err := g.Wait()
	if err == nil && sent.h.Sum32() != got.h.Sum32() {
		err = fmt.Errorf("compare payload: sent %08x, received %08x", sent.h.Sum32(), got.h.Sum32())
	}
	return errors.Join(wrap("exchange", err), p.deadline(time.Time{}))
}

// HalfClose sends FIN from one end and waits until the other has read the end of the stream. The other direction
// stays open.
func (p *TCPPair) HalfClose(by *net.TCPConn, timeout time.Duration) error {
	if err := by.CloseWrite(); err != nil {
		return fmt.Errorf("half close: %w", err)
	}
	return wrap("half close", ends(p.other(by), timeout, io.EOF))
}

// Finish closes the connection with FIN in both directions, the client first, and waits until each end has seen the
// other's. The client keeps the TIME_WAIT socket.
func (p *TCPPair) Finish(timeout time.Duration) error {
	if err := p.HalfClose(p.Client, timeout); err != nil {
		return err
	}
	if err := p.HalfClose(p.Server, timeout); err != nil {
		return err
	}
	return wrap("finish", errors.Join(p.Server.Close(), p.Client.Close()))
}

// Reset closes one end with RST (SO_LINGER 0) and waits until the other learns of it.
func (p *TCPPair) Reset(by *net.TCPConn, timeout time.Duration) error {
	if err := errors.Join(by.SetLinger(0), by.Close()); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return wrap("reset", ends(p.other(by), timeout, unix.ECONNRESET))
}

// ends waits until reading from c fails with want. Bytes on the way there are an error.
func ends(c *net.TCPConn, timeout time.Duration, want error) error {
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	n, err := c.Read(make([]byte, 1))
	if n != 0 {
		return errors.New("the peer still received data")
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("the peer got %w and not %w", err, want)
	}
	return c.SetReadDeadline(time.Time{})
}

func (p *TCPPair) other(c *net.TCPConn) *net.TCPConn {
	if c == p.Client {
		return p.Server
	}
	return p.Client
}

// Abort closes both ends without waiting for anything; safe at any time, as in a Cleanup.
func (p *TCPPair) Abort() {
	for _, c := range []*net.TCPConn{p.Client, p.Server} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// Info reads TCP_INFO of one end.
func Info(c *net.TCPConn) (*unix.TCPInfo, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read TCP_INFO: %w", err)
	}
	var info *unix.TCPInfo
	var serr error
	err = raw.Control(func(fd uintptr) {
		info, serr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err = errors.Join(err, serr); err != nil {
		return nil, fmt.Errorf("read TCP_INFO: %w", err)
	}
	return info, nil
}

// Retransmits returns how many segments both ends have sent again since the connection began.
func (p *TCPPair) Retransmits() (uint32, error) {
	var n uint32
	for _, c := range []*net.TCPConn{p.Client, p.Server} {
		info, err := Info(c)
		if err != nil {
			return 0, err
		}
		n += info.Total_retrans
	}
	return n, nil
}
