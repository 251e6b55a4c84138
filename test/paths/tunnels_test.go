//go:build guest

package paths

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// underlay is a plain wire with addresses of its own, for a tunnel on top: 172.16.NUMBER.1 is the router.
func (s *site) underlay() (router, peer netip.Addr) {
	plain(s)
	router, peer = netip.AddrFrom4([4]byte{172, 16, byte(s.number), 1}), netip.AddrFrom4([4]byte{172, 16, byte(s.number), 2})
	s.w.router.IP(fmt.Sprintf("address add %s/24 dev %s", router, s.name))
	s.hosts[0].ns.IP(fmt.Sprintf("address add %s/24 dev eth0", peer))
	return router, peer
}

// ipip is IPv4 in IPv4.
func ipip(s *site) {
	router, peer := s.underlay()
	s.top, s.hosts[0].dev, s.only4 = s.name+"t", "tun", true
	s.w.router.IP(fmt.Sprintf("link add name %s type ipip local %s remote %s ttl 64", s.top, router, peer))
	s.hosts[0].ns.IP(fmt.Sprintf("link add name tun type ipip local %s remote %s ttl 64", peer, router))
	s.listed = []string{s.top}
}

// wireguard is a WireGuard tunnel.
func wireguard(s *site) {
	router, peer := s.underlay()
	s.top, s.hosts[0].dev = s.name+"t", "wg0"
	type end struct {
		ns        *testkit.NS
		dev, file string
		public    string
		at        netip.Addr
	}
	ends := []*end{{ns: s.w.router, dev: s.top, at: router}, {ns: s.hosts[0].ns, dev: "wg0", at: peer}}
	for _, e := range ends {
		private := e.ns.Run("wg", "genkey")
		e.file = filepath.Join(s.w.t.TempDir(), e.dev)
		if err := os.WriteFile(e.file, []byte(private), 0o600); err != nil {
			s.w.t.Fatal(err)
		}
		public, err := e.ns.Pipe(private, "wg", "pubkey")
		if err != nil {
			s.w.t.Fatal(err)
		}
		e.public = strings.TrimSpace(public)
	}
	for i, e := range ends {
		other := ends[1-i]
		e.ns.IP(fmt.Sprintf("link add name %s type wireguard", e.dev))
		e.ns.Run("wg", "set", e.dev, "listen-port", "51820", "private-key", e.file,
			"peer", other.public, "endpoint", other.at.String()+":51820", "allowed-ips", "0.0.0.0/0,::/0")
	}
	s.listed = []string{s.top}
}

// esp is a plain wire on which TCP and UDP are inside an IPsec tunnel.
func esp(s *site) {
	plain(s)
	router, peer := s.prefix(gateway, false).Addr(), s.hosts[0].addr(false)
	const algorithm = "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128"
	states := fmt.Sprintf("xfrm state add src %s dst %s proto esp spi 0x100 %s mode tunnel flag af-unspec\nxfrm state add src %s dst %s proto esp spi 0x101 %s mode tunnel flag af-unspec\n",
		peer, router, algorithm, router, peer, algorithm)
	up := fmt.Sprintf(" tmpl src %s dst %s proto esp mode tunnel\n", peer, router)
	down := fmt.Sprintf(" tmpl src %s dst %s proto esp mode tunnel\n", router, peer)
	routers, hosts := states, states
	for _, six := range []bool{false, true} {
		for _, proto := range []string{"tcp", "udp"} {
			any := map[bool]string{false: "0.0.0.0/0", true: "::/0"}[six]
			host := s.hosts[0].addr(six)
			there := fmt.Sprintf("xfrm policy add src %s dst %s proto %s dir ", host, any, proto)
			back := fmt.Sprintf("xfrm policy add src %s dst %s proto %s dir ", any, host, proto)
			routers += there + "fwd" + up + there + "in" + up + back + "out" + down
			hosts += there + "out" + up + back + "in" + down
		}
	}
	s.w.router.IP(routers)
	s.hosts[0].ns.IP(hosts)
}

// pppoe is a PPPoE session of the router with the site's host.
func pppoe(s *site) {
	plain(s)
	s.top, s.hosts[0].dev, s.ppp = s.name+"oe", "ppp0", true
	// The kernel's flowtable sees PPPoE packets on the device below only.
	s.listed, s.kernel = []string{s.top}, []string{s.name}
	s.session(s.name, "eth0")
}

// session starts PPP at both ends of a wire, as a PPPoE session that needs no discovery: the kernel forwards at either end.
func (s *site) session(routerDev, hostDev string) {
	t, h := s.w.t, s.hosts[0]
	router, peer := s.prefix(gateway, false).Addr(), h.addr(false)
	dial := func(ns *testkit.NS, on, name, theirs string, local, remote netip.Addr) {
		spawn(t, ns, "pppd", "plugin", "rp-pppoe.so", on, "rp_pppoe_sess", "7:"+theirs, "ifname", name, fmt.Sprintf("%s:%s", local, remote),
			"noauth", "nodetach", "mtu", "1492", "mru", "1492", "+ipv6", "noaccomp", "nopcomp", "novj", "nobsdcomp", "nodeflate", "noccp")
	}
	dial(h.ns, hostDev, h.dev, mac(t, s.w.router, routerDev), peer, router)
	dial(s.w.router, routerDev, s.top, mac(t, h.ns, hostDev), router, peer)
	for ns, dev := range map[*testkit.NS]string{s.w.router: s.top, h.ns: h.dev} {
		testkit.MustAwait(t, time.Minute, func() error { return hasIPv4(ns, dev) })
	}
	s.w.router.IP(fmt.Sprintf("address add %s dev %s nodad", s.prefix(gateway, true), s.top))
	h.ns.IP(fmt.Sprintf("address add %s dev %s nodad\nroute add 0.0.0.0/0 dev %s\nroute add ::/0 dev %s", s.prefix(h.last, true), h.dev, h.dev, h.dev))
}

// mac returns the Ethernet address of a device.
func mac(t testing.TB, ns *testkit.NS, dev string) string {
	t.Helper()
	var address string
	err := ns.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			address = i.HardwareAddr.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// hasIPv4 reports nil when PPP has given the device its address and switched it on.
func hasIPv4(ns *testkit.NS, dev string) error {
	out, err := ns.Try("ip", "-j", "-4", "address", "show", "dev", dev)
	if err != nil {
		return err
	}
	var links []struct {
		Flags     []string `json:"flags"`
		Addresses []any    `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return fmt.Errorf("read addresses of %s: %w", dev, err)
	}
	for _, l := range links {
		if len(l.Addresses) > 0 && slices.Contains(l.Flags, "UP") {
			return nil
		}
	}
	return fmt.Errorf("%s is not up with an address", dev)
}

// spawn starts a program that runs until the test ends, with everything it starts itself.
func spawn(t testing.TB, ns *testkit.NS, name string, args ...string) {
	t.Helper()
	out := &strings.Builder{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := ns.Start(cmd); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %v: %s", name, err, out.String())
		}
	})
}
