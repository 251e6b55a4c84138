//go:build guest

package paths

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// The steps of a path: the client's wire, the router's uplink, and a wire further on, as behind PPPoE. Layer 3 bytes.
const (
	jumboMTU  = 9000
	uplinkMTU = 1500
	narrowMTU = 1492
)

// jumbo is a wire for long packets.
func jumbo(s *site) {
	plain(s)
	s.w.router.IP(fmt.Sprintf("link set %s mtu %d", s.name, jumboMTU))
	s.hosts[0].ns.IP(fmt.Sprintf("link set eth0 mtu %d", jumboMTU))
}

// narrow is another router with a server behind a wire that takes less. The server asks for long segments and sends none.
func narrow(s *site) {
	plain(s)
	next := s.hosts[0].ns
	next.Forward()
	s.behind = testkit.NewHost(s.w.t, s.name+"server")
	// Longer frames than a veth device's own MTU are not received: only the way there is narrow.
	next.IP(fmt.Sprintf("link add name out type veth peer name in netns %s\nlink set out mtu %d\nlink set out up", s.behind.Name, narrowMTU))
	s.behind.IP(fmt.Sprintf("link set in mtu %d\nlink set in up", jumboMTU))
	for _, six := range []bool{false, true} {
		near, far, bits := "172.17.0.1/24", "172.17.0.2/24", 32
		if six {
			near, far, bits = "2001:db8:fffd::1/64", "2001:db8:fffd::2/64", 128
		}
		any, gate := "0.0.0.0/0", netip.MustParsePrefix(near).Addr()
		if six {
			any = "::/0"
		}
		next.IP(fmt.Sprintf("address add %s dev out%s\nroute add %s/%d via %s", near, nodad(six), behindNarrow(six), bits, netip.MustParsePrefix(far).Addr()))
		s.behind.IP(fmt.Sprintf("address add %s dev in%s\naddress add %s/%d dev lo%s\nroute add %s via %s mtu %d advmss %d",
			far, nodad(six), behindNarrow(six), bits, nodad(six), any, gate, narrowMTU, jumboMTU-60))
	}
	s.routes = func() {
		for _, six := range []bool{false, true} {
			s.w.router.IP(fmt.Sprintf("route add %s via %s dev %s", behindNarrow(six), s.hosts[0].addr(six), s.name))
		}
	}
}

// behindNarrow is the server's address.
func behindNarrow(six bool) netip.Addr {
	if six {
		return netip.MustParseAddr("2001:db8:fffe::1")
	}
	return netip.MustParseAddr("198.18.1.1")
}

// discovered: packets with DF that are too long bring ICMP back to the sender, from either step; with what then fits, the
// flow is fast, and its payload whole.
func discovered(t *testing.T, w *world) {
	from, to := w.host("jumbo"), w.host("narrow")
	for _, six := range []bool{false, true} {
		p := testkit.Path{Client: from.ns, Dial: netip.AddrPortFrom(behindNarrow(six), 6010), Server: to.site.behind}
		tcp, err := testkit.ConnectTCP(t, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := &traffic{name: "tcp", proto: "tcp", local: tcp.Local(), tcp: tcp}
		w.exchange(t, []*traffic{f}, warm)
		w.awaitReady(t, []*traffic{f})
		if got := pathMTU(t, from, behindNarrow(six)); got != 0 {
			t.Errorf("six=%v: the client's path MTU is %d before it has sent anything long", six, got)
		}
		before, _, _ := f.ours(w.d.Flows())
		if _, err := tcp.Transfer(testkit.Load{Up: 1 << 20, Down: 100_000, Timeout: time.Minute}); err != nil {
			t.Errorf("six=%v: %v: %s", six, err, w.counters())
		}
		if got := pathMTU(t, from, behindNarrow(six)); got != narrowMTU {
			t.Errorf("six=%v: the client's path MTU is %d, want %d", six, got, narrowMTU)
		}
		if after, ready, _ := f.ours(w.d.Flows()); ready < 2 || after < before+300 {
			t.Errorf("six=%v: %d packets of a MiB were fast: %s", six, after-before, w.counters())
		}
		f.close(t)
	}
}

// pathMTU is what a host has learned about the way to an address; 0 for nothing.
func pathMTU(t *testing.T, h *host, to netip.Addr) int {
	t.Helper()
	var routes []struct {
		Metrics []struct {
			MTU int `json:"mtu"`
		} `json:"metrics"`
	}
	if err := json.Unmarshal([]byte(h.ns.Run("ip", "-j", "route", "get", to.String())), &routes); err != nil {
		t.Fatalf("read route: %v", err)
	}
	for _, r := range routes {
		for _, m := range r.Metrics {
			if m.MTU != 0 {
				return m.MTU
			}
		}
	}
	return 0
}

// fragmented: packets without DF that are too long leave in the pieces that the kernel makes of them; the others of the
// flow are fast.
func fragmented(t *testing.T, w *world) {
	const long = 4000 // payload bytes
	from, to := w.host("jumbo"), w.host("narrow")
	from.ns.Sysctl("net/ipv4/ip_no_pmtu_disc", "1")
	from.ns.Run("ip", "route", "flush", "cache")
	p := testkit.Path{Client: from.ns, Dial: netip.AddrPortFrom(behindNarrow(false), 6011), Server: to.site.behind}
	sizes := append(slices.Repeat([]int{100}, 9), long)
	udp := testkit.OpenUDP(t, p, testkit.UDPOptions{Sizes: sizes})
	f := &traffic{name: "udp", proto: "udp", local: udp.Local(), udp: udp}
	w.exchange(t, []*traffic{f}, warm)
	w.awaitReady(t, []*traffic{f})
	index, err := to.ns.Ifindex("eth0")
	if err != nil {
		t.Fatal(err)
	}
	port := testkit.OpenPort(t, testkit.Dev{NS: to.ns, Name: "eth0", Index: index}, testkit.PortOptions{})
	before, _, _ := f.ours(w.d.Flows())
	w.exchange(t, []*traffic{f}, packets)
	after, _, _ := f.ours(w.d.Flows())
	if after-before < packets {
		t.Errorf("%d packets were fast: %s", after-before, w.counters())
	}
	// 20 bytes of header each; all pieces but the last hold a multiple of eight.
	want := pieces(long+8, uplinkMTU)
	for n := range packets / len(sizes) {
		var got []string
		for range want {
			frame, err := port.Recv(quiet, func(f testkit.Frame) bool {
				return len(f.Data) > 34 && f.Data[12] == 8 && f.Data[13] == 0 && f.Data[23] == packet.UDP && (f.Data[20]&0x3f != 0 || f.Data[21] != 0)
			})
			if err != nil {
				t.Fatalf("datagram %d: pieces %v: %v", n, got, err)
			}
			ip := frame.Data[14:]
			got = append(got, fmt.Sprintf("%d at %d flags %x", int(ip[2])<<8|int(ip[3]), (int(ip[6]&0x1f)<<8|int(ip[7]))*8, ip[6]>>5))
		}
		if strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("datagram %d came in the pieces %v, want %v", n, got, want)
		}
	}
	udp.Close()
}

// pieces are the fragments that the kernel makes of n bytes of IPv4 payload without DF.
func pieces(n, mtu int) []string {
	var all []string
	for at := 0; at < n; {
		size, flags := (mtu-20)/8*8, 1 // more fragments
		if at+size >= n {
			size, flags = n-at, 0
		}
		all = append(all, fmt.Sprintf("%d at %d flags %x", size+20, at, flags))
		at += size
	}
	return all
}
