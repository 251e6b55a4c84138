package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Candidates reads the TCP connections that wait for BE_LIBERAL.
type Candidates struct {
	r *ringbuf.Reader
}

// Candidates opens the stream; close it to end a blocked Read.
func (d *Datapath) Candidates() (*Candidates, error) {
	r, err := ringbuf.NewReader(d.maps.Candidates)
	if err != nil {
		return nil, fmt.Errorf("open candidates: %w", err)
	}
	return &Candidates{r: r}, nil
}

// Read waits for the next candidate. After Close it returns os.ErrClosed.
func (c *Candidates) Read() (Candidate, error) {
	rec, err := c.r.Read()
	if errors.Is(err, ringbuf.ErrClosed) {
		return Candidate{}, os.ErrClosed
	}
	if err != nil {
		return Candidate{}, fmt.Errorf("read candidate: %w", err)
	}
	const tuple = 40 // struct ct_tuple
	if len(rec.RawSample) < 2*tuple {
		return Candidate{}, fmt.Errorf("read candidate: %d bytes instead of %d", len(rec.RawSample), 2*tuple)
	}
	return Candidate{Orig: ctTuple(rec.RawSample[:tuple]), Reply: ctTuple(rec.RawSample[tuple : 2*tuple])}, nil
}

// Close ends the stream.
func (c *Candidates) Close() error { return c.r.Close() }

// ctTuple decodes struct nf_conntrack_tuple (include/net/netfilter/nf_conntrack_tuple.h): source address (16 bytes)
// and port, family, destination address and port, protocol; addresses and ports in network byte order.
func ctTuple(b []byte) packet.Tuple {
	const inet = 2 // NFPROTO_IPV4
	addr := func(b []byte) netip.Addr {
		return netip.AddrFrom16([16]byte(b))
	}
	if binary.NativeEndian.Uint16(b[18:]) == inet {
		addr = func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }
	}
	return packet.Tuple{
		Src:   netip.AddrPortFrom(addr(b[0:16:16]), binary.BigEndian.Uint16(b[16:])),
		Dst:   netip.AddrPortFrom(addr(b[20:36:36]), binary.BigEndian.Uint16(b[36:])),
		Proto: b[38],
	}
}
