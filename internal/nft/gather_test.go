package nft

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// A kernel without the module cannot make one.
func TestGathered_FlowtableInATableOfIP_IsAtIngress(t *testing.T) {
	attr := func(kind uint16, v string) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(attrHeader+len(v)))
		return append(binary.NativeEndian.AppendUint16(b, kind), v...)
	}
	message := func(kind uint16, body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+nfgenLen+len(body)))
		b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_NFTABLES<<8|kind)
		b = append(b, make([]byte, unix.NLMSG_HDRLEN-len(b))...)
		return append(append(b, unix.NFPROTO_IPV4, 0, 0, 0), body...)
	}
	g := newGathered(func(element.SetID) bool { return false }, func() uint64 { return 0 })
	b := append(message(unix.NFT_MSG_NEWTABLE, attr(attrTable, "this")), message(unix.NFT_MSG_NEWFLOWTABLE, attr(attrTable, "that"))...)
	commits := g.datagram(append(b, message(unix.NFT_MSG_NEWGEN, nil)...), time.Time{})
	if len(commits) != 1 || len(commits[0].Tables) != 2 {
		t.Fatalf("commits: %+v", commits)
	}
	if diff := cmp.Diff([]TableID{{ruleset.IP, "that"}}, commits[0].Ingress); diff != "" {
		t.Error(diff)
	}
}

// Which changes are told to be at ingress, by the kernel's own notifications.
func TestSetWatch_IngressChains_AreTold(t *testing.T) {
	ns := nsWith(t, "")
	w := setWatching(t, ns, setWatchBuffer)
	for _, step := range []struct{ do, want string }{
		{"add table inet t", ""},
		{"add chain inet t c", ""},
		{"add chain inet t f { type filter hook forward priority 0; }", ""},
		{"add chain inet t i { type filter hook ingress device lo priority 0; }", "inet t"},
		{"add rule inet t i drop", ""},
		{"add table ip u\nadd chain ip u c { type filter hook postrouting priority 0; }", ""},
		{"add table ip v\nadd rule ip u c drop\nadd chain inet t j { type filter hook ingress device lo priority 1; }\nadd chain ip v c", "inet t"},
		{"add chain inet t n { type filter hook forward priority 0; }\nadd table netdev t\nadd chain netdev t n", ""},
		{"delete chain inet t i", ""},
	} {
		if _, err := ns.Pipe(step.do+"\n", "nft", "-f", "-"); err != nil {
			t.Errorf("%s: %v", step.do, err)
			continue
		}
		got := ""
		for _, id := range nextCommit(t, w).Ingress {
			got += fmt.Sprintf("%s %s", id.Family, id.Name)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s:\n%s", step.do, diff)
		}
	}
}
