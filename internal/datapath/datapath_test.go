package datapath_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestUDPFlowBecomesFast(t *testing.T) {
	testkit.Need(t, testkit.Netns, testkit.BPF, testkit.NFT)
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		t.Run(hook.String(), func(t *testing.T) {
			r := testkit.NewRouter(t, testkit.RouterOptions{XDP: hook == datapath.HookXDP, RawEnds: true})
			r.Router.NFTables(`table inet t {
 chain f { type filter hook forward priority 0; policy accept;
  ct state established ct label set 127
 }
}
table ip n { chain p { type nat hook postrouting priority 100; oifname r1 masquerade
 }
}`)
			dir := filepath.Join("/sys/fs/bpf/nft-offload-test", r.Router.Name)
			var d *datapath.Datapath
			err := r.Router.Do(func() (err error) {
				d, err = datapath.Open(datapath.Config{Dir: dir, MaxFlows: 1024})
				if err != nil {
					return err
				}
				devs := []datapath.Device{}
				for _, dev := range []testkit.Dev{r.R0, r.R1} {
					devs = append(devs, datapath.Device{Ifindex: uint32(dev.Index), Name: dev.Name, Hook: hook, XDPTarget: true, PartialChecksums: true, Labels: [2]uint64{0, 1 << 63}})
				}
				return d.Apply(devs)
			})
			if err != nil {
				t.Fatalf("%+v", err)
			}
			t.Cleanup(func() {
				d.Close()
				if err := r.Router.Do(func() error { return datapath.Withdraw(dir) }); err != nil {
					t.Error(err)
				}
			})
			c, s := testkit.OpenPort(t, r.C0, testkit.PortOptions{}), testkit.OpenPort(t, r.S0, testkit.PortOptions{})
			tup := packet.Tuple{Src: netip.AddrPortFrom(r.C0.Addr(false), 1000), Dst: netip.AddrPortFrom(r.S0.Addr(false), 2000), Proto: packet.UDP}
			for i := 0; i < 20; i++ {
				sp := packet.New(tup, []byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8})
				sp.Src, sp.Dst = r.C0.MAC, r.R0.MAC
				if err := c.Send(sp.Build()); err != nil {
					t.Fatal(err)
				}
				f, err := s.Recv(time.Second, testkit.Decoded(func(h packet.Header) bool { return h.Tuple.Proto == packet.UDP }))
				if err != nil {
					t.Fatal(err)
				}
				h, _ := packet.Decode(f.Data)
				if !h.L4ChecksumOK(f.Data) || !h.IPChecksumOK(f.Data) || h.TTL != 63 {
					t.Fatalf("bad %+v", h)
				}
				rp := packet.New(h.Tuple.Reverse(), []byte{byte(i), 9})
				rp.Src, rp.Dst = r.S0.MAC, r.R1.MAC
				if err := s.Send(rp.Build()); err != nil {
					t.Fatal(err)
				}
				f, err = c.Recv(time.Second, testkit.Decoded(func(h packet.Header) bool { return h.Tuple.Proto == packet.UDP }))
				if err != nil {
					t.Fatal(err)
				}
			}
			st, err := d.Stats()
			t.Logf("%+v %v", st, err)
			fl, err := d.Flows()
			for _, f := range fl {
				t.Logf("%+v", f)
			}
			if st.Fast[hook].Packets < 30 {
				t.Errorf("only %d fast", st.Fast[hook].Packets)
			}
		})
	}
}
