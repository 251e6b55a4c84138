package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// What a call sends: telephony's size, more often than a telephone so that there is much to measure.
const (
	callBytes = 160
	callPace  = 2 * time.Millisecond
	callQuiet = time.Second // an echo that is not back by then is lost
)

// call is a thin flow: small datagrams at a steady pace, which the server sends back.
type call struct {
	client, server *net.UDPConn
	began          time.Time
	sent           uint64 // in all
	random         [callBytes]byte
}

// conversation is what became of the datagrams of a while.
type conversation struct {
	waits        []float64 // µs from sending to the echo, of those that came back
	sent, intact int
}

func (t *topology) openCall(port uint16) (*call, error) {
	c := &call{began: time.Now()}
	_, _ = rand.NewChaCha8([32]byte{byte(port)}).Read(c.random[:]) // never fails
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.s0.addr(false), port))
	if err := t.server.elsewhere(func() (err error) { c.server, err = net.ListenUDP("udp", at); return err }); err != nil {
		return nil, fmt.Errorf("open call: %w", err)
	}
	if err := t.client.elsewhere(func() (err error) { c.client, err = net.DialUDP("udp", nil, at); return err }); err != nil {
		_ = c.server.Close()
		return nil, fmt.Errorf("open call: %w", err)
	}
	go c.echo()
	return c, nil
}

// echo ends when the server's socket is closed.
func (c *call) echo() {
	b := make([]byte, 2*callBytes)
	for {
		n, from, err := c.server.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = c.server.WriteToUDPAddrPort(b[:n], from) // a lost one is seen by its sender
	}
}

func (c *call) close() {
	_ = c.client.Close()
	_ = c.server.Close()
}

// talk sends for a while, and waits for the echoes.
func (c *call) talk(ctx context.Context, while time.Duration) (conversation, error) {
	first := c.sent
	if err := c.client.SetReadDeadline(time.Now().Add(while + callQuiet)); err != nil {
		return conversation{}, fmt.Errorf("talk: %w", err)
	}
	last := make(chan uint64, 1) // the number that the last datagram has, once it is sent
	heard := make(chan conversation, 1)
	go func() { heard <- c.hear(first, last) }()
	err := c.speak(ctx, while)
	last <- c.sent
	if err != nil {
		_ = c.client.SetReadDeadline(time.Now())
	}
	out := <-heard
	out.sent = int(c.sent - first)
	return out, err
}

func (c *call) speak(ctx context.Context, while time.Duration) error {
	pace := time.NewTicker(callPace)
	defer pace.Stop()
	for end := time.Now().Add(while); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
		b := c.random
		binary.BigEndian.PutUint64(b[:], c.sent)
		binary.BigEndian.PutUint64(b[8:], uint64(time.Since(c.began)))
		if _, err := c.client.Write(b[:]); err != nil {
			return fmt.Errorf("talk: %w", err)
		}
		c.sent++
	}
	return nil
}

// hear reads echoes until the last one sent is back, or the deadline of the socket.
func (c *call) hear(first uint64, last <-chan uint64) (out conversation) {
	b := make([]byte, 2*callBytes)
	end := ^uint64(0)
	for uint64(out.intact) < end-first {
		n, err := c.client.Read(b)
		if err != nil {
			return out
		}
		now := time.Since(c.began)
		select {
		case end = <-last:
		default:
		}
		number := binary.BigEndian.Uint64(b)
		if n != callBytes || number < first || string(b[16:n]) != string(c.random[16:]) {
			continue // one of an earlier conversation, or damaged
		}
		out.intact++
		sent := time.Duration(binary.BigEndian.Uint64(b[8:]))
		out.waits = append(out.waits, float64((now-sent).Nanoseconds())/1000)
	}
	return out
}

// waiting sums up how long datagrams and their echoes were on their way; zero where none came back.
func (c conversation) waiting() Waiting {
	if len(c.waits) == 0 {
		return Waiting{}
	}
	return Waiting{Median: median(c.waits), P99: quantile(c.waits, 0.99)}
}
