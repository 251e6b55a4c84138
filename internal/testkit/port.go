package testkit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"golang.org/x/sys/unix"
)

// PortOptions says how a Port sends and receives. The zero value: frames as bytes, through the device's qdisc.
type PortOptions struct {
	// QdiscBypass sends straight to the driver (PACKET_QDISC_BYPASS).
	QdiscBypass bool
	// VNet prefixes frames with struct virtio_net_hdr inside the socket, so that SendVNet can hand over frames with
	// an unfinished checksum or as GSO super-packets, and received frames say how they came (PACKET_VNET_HDR).
	VNet bool
	// Outgoing also receives what this namespace itself sends on the device.
	Outgoing bool
}

// Port sends raw frames out of one device and receives the frames that arrive on it (AF_PACKET, promiscuous,
// every protocol). It sees what a tap sees: after XDP and GRO of this device, before its tc ingress. One reader
// at a time; sending is safe beside reading.
type Port struct {
	dev  Dev
	opts PortOptions
	file *os.File
	raw  syscall.RawConn
	buf  []byte
	oob  []byte
}

// Frame is one received frame.
type Frame struct {
	// Data is the frame as it was on the wire: a VLAN tag that the kernel holds in metadata is put back.
	Data []byte
	// TagInMetadata says that the outer VLAN tag was not in the bytes when the socket saw the frame.
	TagInMetadata bool
	// PartialChecksum says that the L4 checksum field holds only the pseudo-header sum (TP_STATUS_CSUMNOTREADY):
	// the sender left the rest to a device that never came.
	PartialChecksum bool
	// Outgoing says that this namespace sent the frame.
	Outgoing bool
	// VNet is filled with PortOptions.VNet.
	VNet VNet
}

// VNet is struct virtio_net_hdr (include/uapi/linux/virtio_net.h): an unfinished checksum and GSO.
type VNet struct {
	Flags      uint8  // VNetNeedsChecksum, VNetDataValid
	GSOType    uint8  // VNetGSO...
	HeaderLen  uint16 // Ethernet to the end of the L4 header, bytes
	GSOSize    uint16 // payload bytes a segment
	CsumStart  uint16 // offset of the L4 header in the frame
	CsumOffset uint16 // offset of the checksum field in the L4 header
}

// Values of VNet.Flags and VNet.GSOType.
const (
	VNetNeedsChecksum uint8 = 1
	VNetDataValid     uint8 = 2
	VNetGSOTCP4       uint8 = 1
	VNetGSOTCP6       uint8 = 4
	VNetGSOUDP        uint8 = 5 // VIRTIO_NET_HDR_GSO_UDP_L4

	vnetLen = 10
)

// portBuffer holds the largest GSO super-packet with its headers.
const portBuffer = 1 << 17

// rcvBuffer is the socket's receive queue in bytes; a 64-byte frame takes about 1 KB of it.
const rcvBuffer = 16 << 20

// OpenPort opens a port on a device. It is closed at the end of the test.
func OpenPort(t testing.TB, d Dev, o PortOptions) *Port {
	t.Helper()
	p, err := openPort(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.file.Close() })
	return p
}

func openPort(d Dev, o PortOptions) (*Port, error) {
	fd := -1
	err := d.NS.Do(func() (err error) {
		// Protocol 0: nothing is queued before bind names the device.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket in %s: %w", d.NS.Name, err)
	}
	if err := setupPort(fd, d, o); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open port on %s: %w", d.Name, err)
	}
	p := &Port{dev: d, opts: o, buf: make([]byte, portBuffer), oob: make([]byte, unix.CmsgSpace(auxdataLen))}
	p.file = os.NewFile(uintptr(fd), d.Name)
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("open port on %s: %w", d.Name, err)
	}
	return p, nil
}

func setupPort(fd int, d Dev, o PortOptions) error {
	type option struct{ name, value int }
	opts := []option{{unix.PACKET_AUXDATA, 1}}
	if !o.Outgoing {
		opts = append(opts, option{unix.PACKET_IGNORE_OUTGOING, 1})
	}
	if o.QdiscBypass {
		opts = append(opts, option{unix.PACKET_QDISC_BYPASS, 1})
	}
	if o.VNet {
		opts = append(opts, option{unix.PACKET_VNET_HDR, 1})
	}
	for _, v := range opts {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, v.name, v.value); err != nil {
			return fmt.Errorf("set packet option %d: %w", v.name, err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvBuffer); err != nil {
		return fmt.Errorf("set receive buffer: %w", err)
	}
	promisc := unix.PacketMreq{Ifindex: int32(d.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promisc); err != nil {
		return fmt.Errorf("set promiscuous: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: d.Index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// networkOrder returns v so that its bytes in memory are big-endian.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// Dev returns the device the port is on.
func (p *Port) Dev() Dev { return p.dev }

// Send sends one frame, from its Ethernet header on.
func (p *Port) Send(frame []byte) error {
	if p.opts.VNet {
		return p.SendVNet(VNet{}, frame)
	}
	return p.write(frame)
}

// SendVNet sends one frame with an unfinished checksum or as a GSO super-packet. The port must have been opened
// with VNet.
func (p *Port) SendVNet(v VNet, frame []byte) error {
	if !p.opts.VNet {
		return fmt.Errorf("send on %s: port was opened without VNet", p.dev.Name)
	}
	b := make([]byte, 0, vnetLen+len(frame))
	b = append(b, v.Flags, v.GSOType)
	for _, x := range []uint16{v.HeaderLen, v.GSOSize, v.CsumStart, v.CsumOffset} {
		b = binary.NativeEndian.AppendUint16(b, x) // vio_le() of net/packet/af_packet.c: the host's own order
	}
	return p.write(append(b, frame...))
}

func (p *Port) write(b []byte) error {
	var werr error
	err := p.raw.Write(func(fd uintptr) bool {
		_, werr = unix.Write(int(fd), b)
		return !errors.Is(werr, unix.EAGAIN)
	})
	if err = errors.Join(err, werr); err != nil {
		return fmt.Errorf("send %d bytes on %s: %w", len(b), p.dev.Name, err)
	}
	return nil
}

// Recv returns the first frame that match accepts and throws away those before it; a nil match accepts all.
// When none arrives in time the error is os.ErrDeadlineExceeded, wrapped.
func (p *Port) Recv(timeout time.Duration, match func(Frame) bool) (Frame, error) {
	deadline := time.Now().Add(timeout)
	for {
		f, err := p.next(deadline)
		if err != nil {
			return Frame{}, fmt.Errorf("receive on %s: %w", p.dev.Name, err)
		}
		if match == nil || match(f) {
			return f, nil
		}
	}
}

// Collect returns the first n frames that match accepts. On a timeout it returns those it has, and the error.
func (p *Port) Collect(n int, timeout time.Duration, match func(Frame) bool) ([]Frame, error) {
	deadline := time.Now().Add(timeout)
	var frames []Frame
	for len(frames) < n {
		f, err := p.Recv(time.Until(deadline), match)
		if err != nil {
			return frames, fmt.Errorf("have %d of %d frames: %w", len(frames), n, err)
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// None waits for quiet and fails when a frame that match accepts arrives within it.
func (p *Port) None(quiet time.Duration, match func(Frame) bool) error {
	f, err := p.Recv(quiet, match)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("unexpected frame on %s: %x", p.dev.Name, f.Data)
}

// Drain throws away the frames already queued and returns how many there were.
func (p *Port) Drain() (int, error) {
	for n := 0; ; n++ {
		// A deadline in the past would fail before reading; so ask the socket itself.
		_, _, err := p.read()
		if errors.Is(err, unix.EAGAIN) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("drain %s: %w", p.dev.Name, err)
		}
	}
}

// Lost returns how many frames did not fit in the socket's queue since the last call.
func (p *Port) Lost() (uint32, error) {
	var st *unix.TpacketStats
	var serr error
	err := p.raw.Control(func(fd uintptr) {
		st, serr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err = errors.Join(err, serr); err != nil {
		return 0, fmt.Errorf("read statistics of %s: %w", p.dev.Name, err)
	}
	return st.Drops, nil
}

func (p *Port) next(deadline time.Time) (Frame, error) {
	if err := p.file.SetReadDeadline(deadline); err != nil {
		return Frame{}, err
	}
	var f Frame
	var rerr error
	err := p.raw.Read(func(fd uintptr) bool {
		f, rerr = p.recvmsg(int(fd))
		return !errors.Is(rerr, unix.EAGAIN)
	})
	if err != nil {
		return Frame{}, err
	}
	return f, rerr
}

// read reads one frame without waiting.
func (p *Port) read() (f Frame, ok bool, err error) {
	cerr := p.raw.Control(func(fd uintptr) { f, err = p.recvmsg(int(fd)) })
	return f, err == nil, errors.Join(cerr, err)
}

func (p *Port) recvmsg(fd int) (Frame, error) {
	n, oobn, _, from, err := unix.Recvmsg(fd, p.buf, p.oob, 0)
	if err != nil {
		return Frame{}, err
	}
	data := bytes.Clone(p.buf[:n])
	var f Frame
	if p.opts.VNet {
		if n < vnetLen {
			return Frame{}, fmt.Errorf("message of %d bytes is shorter than its virtio header", n)
		}
		f.VNet = VNet{
			Flags: data[0], GSOType: data[1],
			HeaderLen: binary.NativeEndian.Uint16(data[2:]), GSOSize: binary.NativeEndian.Uint16(data[4:]),
			CsumStart: binary.NativeEndian.Uint16(data[6:]), CsumOffset: binary.NativeEndian.Uint16(data[8:]),
		}
		data = data[vnetLen:]
	}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Outgoing = ll.Pkttype == unix.PACKET_OUTGOING
	}
	aux, err := parseAuxdata(p.oob[:oobn])
	if err != nil {
		return Frame{}, err
	}
	f.PartialChecksum = aux.status&unix.TP_STATUS_CSUMNOTREADY != 0
	f.Data = data
	if aux.status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.TagInMetadata = true
		f.Data = insertTag(data, aux.tpid, aux.tci)
	}
	return f, nil
}

// auxdataLen is the size of struct tpacket_auxdata (include/uapi/linux/if_packet.h).
const auxdataLen = 20

type auxdata struct {
	status    uint32
	tci, tpid uint16
}

func parseAuxdata(oob []byte) (auxdata, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return auxdata{}, fmt.Errorf("parse control message: %w", err)
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < auxdataLen {
			continue
		}
		a := auxdata{
			status: binary.NativeEndian.Uint32(m.Data), // tp_status
			tci:    binary.NativeEndian.Uint16(m.Data[16:]),
			tpid:   binary.NativeEndian.Uint16(m.Data[18:]),
		}
		if a.status&unix.TP_STATUS_VLAN_TPID_VALID == 0 {
			a.tpid = unix.ETH_P_8021Q
		}
		return a, nil
	}
	return auxdata{}, errors.New("packet socket gave no auxdata")
}

// insertTag puts a VLAN tag behind the two Ethernet addresses.
func insertTag(frame []byte, tpid, tci uint16) []byte {
	const macs = 12
	if len(frame) < macs {
		return frame
	}
	out := append(make([]byte, 0, len(frame)+4), frame[:macs]...)
	out = binary.BigEndian.AppendUint16(out, tpid)
	out = binary.BigEndian.AppendUint16(out, tci)
	return append(out, frame[macs:]...)
}

// Decoded returns a match for Recv: the frame decodes and f accepts its headers.
func Decoded(f func(packet.Header) bool) func(Frame) bool {
	return func(fr Frame) bool {
		h, err := packet.Decode(fr.Data)
		return err == nil && f(h)
	}
}

// OfTuple returns a match for Recv: frames of exactly this tuple.
func OfTuple(t packet.Tuple) func(Frame) bool {
	return Decoded(func(h packet.Header) bool { return h.Tuple == t })
}

// PartialVNet returns the header for a frame whose L4 checksum the device is to finish.
func PartialVNet(h packet.Header) VNet {
	at := uint16(16) // of the checksum in the TCP header
	if h.Tuple.Proto == packet.UDP {
		at = 6
	}
	return VNet{Flags: VNetNeedsChecksum, CsumStart: uint16(h.L4Offset), CsumOffset: at, HeaderLen: uint16(h.PayloadOffset)}
}

// TCPVNet returns the header for a TCP super-packet that the device is to cut into segments of mss payload bytes.
func TCPVNet(h packet.Header, mss uint16) VNet {
	v := PartialVNet(h)
	v.GSOType, v.GSOSize = VNetGSOTCP4, mss
	if h.Family == 6 {
		v.GSOType = VNetGSOTCP6
	}
	return v
}
