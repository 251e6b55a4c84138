package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netns"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Real sockets: what the demo proves beside speed.
const (
	transferBytes = 32 << 20
	echoes        = 3000
	transferPort  = 7000
	transferLimit = 30 * time.Second
)

// transfer opens a TCP connection, exchanges single bytes until the connection is settled, then sends random bytes,
// has them echoed, and closes it. It returns the connection's tuple as the client sees it, and whether the client read
// what it wrote. Nobody closes before all is read: what follows a FIN is for the kernel.
func (t *topology) transfer(ctx context.Context, six bool, settled func() (bool, error)) (tuple packet.Tuple, intact bool, err error) {
	addr := netip.AddrPortFrom(t.s0.addr(six), transferPort).String()
	var l net.Listener
	if err := t.server.elsewhere(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		return tuple, false, fmt.Errorf("transfer: %w", err)
	}
	defer l.Close() //nolint:errcheck // nothing is read from it any more
	served := make(chan error, 1)
	go func() { served <- echoOne(l) }()
	var c net.Conn
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if err := t.client.elsewhere(func() (err error) { c, err = dialer.DialContext(ctx, "tcp", addr); return err }); err != nil {
		return tuple, false, fmt.Errorf("transfer: %w", err)
	}
	defer c.Close() //nolint:errcheck // closed below; this is for errors
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(transferLimit)); err != nil {
		return tuple, false, fmt.Errorf("transfer: %w", err)
	}
	tuple = packet.Tuple{Src: addrPort(c.LocalAddr()), Dst: addrPort(c.RemoteAddr()), Proto: packet.TCP}
	if err := chat(c, settled); err != nil {
		return tuple, false, fmt.Errorf("transfer: %w", err)
	}
	sent, got := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	go func() {
		source := io.LimitReader(rand.NewChaCha8([32]byte{}), transferBytes)
		_, err := io.Copy(io.MultiWriter(c, sent), source)
		wrote <- err
	}()
	n, err := io.CopyN(got, c, transferBytes)
	err = errors.Join(err, <-wrote, c.Close(), <-served)
	if err != nil {
		return tuple, false, fmt.Errorf("transfer over %s: after %d bytes: %w", family(six), n, err)
	}
	return tuple, n == transferBytes && string(sent.Sum(nil)) == string(got.Sum(nil)), nil
}

// chatLimit is how long a connection may take to settle; it goes on without, and the share of fast packets tells.
const chatLimit = 2 * time.Second

// chat exchanges bytes until the connection is settled.
func chat(c net.Conn, settled func() (bool, error)) error {
	for end := time.Now().Add(chatLimit); time.Now().Before(end); {
		b := []byte{1}
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		if ok, err := settled(); ok || err != nil {
			return err
		}
	}
	return nil
}

// echoOne sends everything back that one connection brings.
func echoOne(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(transferLimit)); err != nil {
		return err
	}
	_, err = io.Copy(c, c)
	return errors.Join(err, c.Close())
}

// datagrams sends numbered datagrams, each after the last one's echo, and returns how many came back as they were.
func (t *topology) datagrams(six bool) (intact int, err error) {
	server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.s0.addr(six), transferPort))
	var s, c *net.UDPConn
	if err := t.server.elsewhere(func() (err error) { s, err = net.ListenUDP("udp", server); return err }); err != nil {
		return 0, fmt.Errorf("send datagrams: %w", err)
	}
	defer s.Close() //nolint:errcheck // ends the echo
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := s.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = s.WriteToUDPAddrPort(b[:n], from) // a lost one is seen by its sender
		}
	}()
	if err := t.client.elsewhere(func() (err error) { c, err = net.DialUDP("udp", nil, server); return err }); err != nil {
		return 0, fmt.Errorf("send datagrams: %w", err)
	}
	defer c.Close() //nolint:errcheck // nothing is written
	random := rand.NewChaCha8([32]byte{1})
	for i := range echoes {
		out, in := make([]byte, 100+i%1000), make([]byte, 2048)
		_, _ = random.Read(out) // never fails
		if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return intact, fmt.Errorf("send datagrams: %w", err)
		}
		if _, err := c.Write(out); err != nil {
			return intact, fmt.Errorf("send datagrams: %w", err)
		}
		n, err := c.Read(in)
		if err != nil {
			return intact, nil //nolint:nilerr // lost: counted
		}
		if string(in[:n]) == string(out) {
			intact++
		}
	}
	return intact, nil
}

// elsewhere runs f inside the namespace on a thread of its own: one that is not pinned and may block.
func (n *namespace) elsewhere(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", n.label, err)
		}
		return f()
	})
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
