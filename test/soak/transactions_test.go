package soak

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// stormTable is a table that is made and deleted again and again.
const stormTable = "storm"

// transactions commits so many nf_tables transactions in the calling thread's network namespace.
func transactions(n int) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open nf_tables: %w", err)
	}
	defer c.Close() //nolint:errcheck // every transaction is acknowledged
	e := netlink.NewAttributeEncoder()
	e.String(unix.NFTA_TABLE_NAME, stormTable)
	name, err := e.Encode()
	if err != nil {
		return fmt.Errorf("encode table: %w", err)
	}
	for i := range n {
		kind, flags := unix.NFT_MSG_NEWTABLE, netlink.Create
		if i%2 == 1 {
			kind, flags = unix.NFT_MSG_DELTABLE, 0
		}
		if err := transaction(c, message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, netlink.Request|netlink.Acknowledge|flags, unix.NFPROTO_INET, 0, name)); err != nil {
			return fmt.Errorf("transaction %d: %w", i, err)
		}
	}
	return nil
}

// transaction sends one message between the begin and the end of a batch, and waits for its acknowledgement.
func transaction(c *netlink.Conn, m netlink.Message) error {
	batch := []netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		m,
		message(unix.NFNL_MSG_BATCH_END, netlink.Request, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	}
	if _, err := c.SendMessages(batch); err != nil {
		return err
	}
	_, err := c.Receive()
	return err
}

// message is a netlink message that begins with struct nfgenmsg, whose resource is in network byte order.
func message(kind int, flags netlink.HeaderFlags, family uint8, resource uint16, attributes []byte) netlink.Message {
	data := binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: flags},
		Data:   append(data, attributes...),
	}
}
