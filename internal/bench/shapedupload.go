package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// upload is a TCP connection that sends as much as it can from the client to the server, until it is told to finish.
type upload struct {
	client, server net.Conn
	arrived        atomic.Uint64 // bytes of payload, at the server
	ending         atomic.Bool
	sent, got      hash.Hash
	wrote, read    chan error
}

// uploadSegment is the payload of a full segment, and uploadFrame the frame it comes in: 1500 bytes less IPv4 and TCP
// headers and the timestamps option, and an Ethernet header more.
const (
	uploadSegment = 1500 - ipv4Len - tcpLen - 12
	uploadFrame   = 1500 + ethernetLen
)

// uploadPiece is how much is written at a time: what is on its way in the client when the upload is to finish.
const uploadPiece = 32 << 10

func (t *topology) openUpload(ctx context.Context) (*upload, error) {
	u := &upload{sent: sha256.New(), got: sha256.New(), wrote: make(chan error, 1), read: make(chan error, 1)}
	at := netip.AddrPortFrom(t.s0.addr(false), transferPort).String()
	var l net.Listener
	if err := t.server.elsewhere(func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	defer l.Close() //nolint:errcheck // one connection only
	dialer := net.Dialer{Timeout: 5 * time.Second}
	err := t.client.elsewhere(func() (err error) { u.client, err = dialer.DialContext(ctx, "tcp", at); return err })
	if err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	if u.server, err = l.Accept(); err != nil {
		return nil, errors.Join(fmt.Errorf("upload: %w", err), u.client.Close())
	}
	limit := time.Now().Add(transferLimit)
	if err := errors.Join(u.client.SetDeadline(limit), u.server.SetDeadline(limit)); err != nil {
		u.close()
		return nil, fmt.Errorf("upload: %w", err)
	}
	go func() { u.wrote <- u.write() }()
	go func() { u.read <- u.receive() }()
	return u, nil
}

func (u *upload) write() error {
	source := rand.NewChaCha8([32]byte{})
	for !u.ending.Load() {
		if _, err := io.CopyN(io.MultiWriter(u.client, u.sent), source, uploadPiece); err != nil {
			return err
		}
	}
	return u.client.(*net.TCPConn).CloseWrite()
}

func (u *upload) receive() error {
	b := make([]byte, uploadPiece)
	for {
		n, err := u.server.Read(b)
		u.got.Write(b[:n]) // never fails (package hash)
		u.arrived.Add(uint64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// finish ends the upload, waits until all has arrived, and returns whether it is what was sent.
func (u *upload) finish() (intact bool, err error) {
	u.ending.Store(true)
	if err := errors.Join(<-u.wrote, <-u.read); err != nil {
		return false, fmt.Errorf("upload: after %d bytes: %w", u.arrived.Load(), err)
	}
	return string(u.sent.Sum(nil)) == string(u.got.Sum(nil)), nil
}

// close ends the upload at once; after finish it is fine.
func (u *upload) close() {
	_ = u.client.Close()
	_ = u.server.Close()
}
