// SPDX-License-Identifier: GPL-2.0
/* Frames, and the memory that the device reads and writes; see helpers.h. */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/ip6_checksum.h>
#include <net/tcp.h>

#include "helpers.h"

/* --- Receiving --- */

#define COOP_NET_HEADROOM (NET_SKB_PAD + NET_IP_ALIGN)

static unsigned int coop_net_rx_truesize(unsigned int len)
{
	return SKB_DATA_ALIGN(COOP_NET_HEADROOM + len) +
	       SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
}

/* A buffer for @len bytes of a frame, which becomes an sk_buff without a copy; mapped. */
void *coop_net_rx_alloc(struct device *dev, unsigned int len, dma_addr_t *dma)
{
	void *buffer = netdev_alloc_frag(coop_net_rx_truesize(len));

	if (unlikely(!buffer))
		return NULL;
	*dma = dma_map_single(dev, buffer + COOP_NET_HEADROOM, len, DMA_FROM_DEVICE);
	if (likely(!dma_mapping_error(dev, *dma)))
		return buffer;
	skb_free_frag(buffer);
	return NULL;
}

void coop_net_rx_free(struct device *dev, void *buffer, unsigned int len, dma_addr_t dma)
{
	dma_unmap_single(dev, dma, len, DMA_FROM_DEVICE);
	skb_free_frag(buffer);
}

/* Bottom halves off. Takes @buffer over, whatever becomes of it. */
struct sk_buff *coop_net_rx_build(struct net_device *netdev, struct device *dev, void *buffer,
				  unsigned int size, dma_addr_t dma, unsigned int len)
{
	struct sk_buff *skb;

	dma_unmap_single(dev, dma, size, DMA_FROM_DEVICE);
	skb = napi_build_skb(buffer, coop_net_rx_truesize(size));
	if (unlikely(!skb)) {
		skb_free_frag(buffer);
		return NULL;
	}
	skb_reserve(skb, COOP_NET_HEADROOM);
	skb_put(skb, len);
	skb->dev = netdev;
	return skb;
}

/* Attaches the first @len bytes of @buffer, which is taken over, to @skb. */
bool coop_net_rx_append(struct sk_buff *skb, struct device *dev, void *buffer,
			unsigned int size, dma_addr_t dma, unsigned int len)
{
	void *data = buffer + COOP_NET_HEADROOM;
	struct page *page = virt_to_head_page(data);

	dma_unmap_single(dev, dma, size, DMA_FROM_DEVICE);
	if (unlikely(skb_shinfo(skb)->nr_frags == MAX_SKB_FRAGS)) {
		skb_free_frag(buffer);
		return false;
	}
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, data - page_address(page), len,
			coop_net_rx_truesize(size));
	return true;
}

/* Bottom halves off. Leaves @buffer to the device. */
struct sk_buff *coop_net_rx_copy(struct net_device *netdev, struct device *dev,
				 const void *buffer, dma_addr_t dma, unsigned int len)
{
	struct sk_buff *skb = napi_alloc_skb(coop_net_napi(netdev), len);

	if (unlikely(!skb))
		return NULL;
	dma_sync_single_for_cpu(dev, dma, len, DMA_FROM_DEVICE);
	skb_put_data(skb, buffer + COOP_NET_HEADROOM, len);
	dma_sync_single_for_device(dev, dma, len, DMA_FROM_DEVICE);
	return skb;
}

/* Whether @buffer begins with these bytes. */
bool coop_net_rx_holds(struct device *dev, const void *buffer, dma_addr_t dma,
		       const u8 *bytes, unsigned int len)
{
	bool same;

	dma_sync_single_for_cpu(dev, dma, len, DMA_FROM_DEVICE);
	same = !memcmp(buffer + COOP_NET_HEADROOM, bytes, len);
	dma_sync_single_for_device(dev, dma, len, DMA_FROM_DEVICE);
	return same;
}

/* The device took this VLAN tag out. */
void coop_net_rx_tag(struct sk_buff *skb, u16 tag)
{
	__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), tag);
}

/* The device found the checksum of TCP or UDP to be good. */
void coop_net_rx_checksum_is_good(struct sk_buff *skb)
{
	if (skb->dev->features & NETIF_F_RXCSUM)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
}

/* --- Sending --- */

/* A frame of these bytes. Any context. */
struct sk_buff *coop_net_tx_new(struct net_device *dev, const u8 *bytes, unsigned int len)
{
	struct sk_buff *skb = netdev_alloc_skb(dev, len);

	if (skb)
		skb_put_data(skb, bytes, len);
	return skb;
}

static bool coop_net_tx_is_tcp(const struct sk_buff *skb)
{
	switch (vlan_get_protocol(skb)) {
	case htons(ETH_P_IP):
		return ip_hdr(skb)->protocol == IPPROTO_TCP;
	case htons(ETH_P_IPV6):
		return ipv6_hdr(skb)->nexthdr == IPPROTO_TCP;
	default:
		return false;
	}
}

/* The device fills in lengths and sums as it cuts the frame up: leave room for them. */
static int coop_net_tx_segment(struct sk_buff *skb, struct coop_net_offload *offload)
{
	int error = skb_cow_head(skb, 0);

	if (unlikely(error))
		return error;
	offload->ipv4 = skb_shinfo(skb)->gso_type & SKB_GSO_TCPV4;
	if (offload->ipv4) {
		struct iphdr *ip = ip_hdr(skb);

		ip->tot_len = 0;
		ip->check = 0;
		tcp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, 0, IPPROTO_TCP, 0);
	} else {
		tcp_v6_gso_csum_prep(skb);
	}
	offload->what = COOP_NET_SEGMENT;
	offload->tcp = true;
	offload->network = skb_network_offset(skb);
	offload->start = skb_transport_offset(skb);
	offload->field = offload->start + offsetof(struct tcphdr, check);
	offload->headers = skb_tcp_all_headers(skb);
	offload->segment = skb_shinfo(skb)->gso_size;
	return 0;
}

/* Sees to it that the frame is as long as Ethernet asks for; frees it if that fails. */
static int coop_net_tx_prepare(struct sk_buff *skb, struct coop_net_offload *offload)
{
	int error = eth_skb_pad(skb);

	if (unlikely(error))
		return error;
	offload->what = COOP_NET_PLAIN;
	offload->tagged = skb_vlan_tag_present(skb);
	if (offload->tagged)
		offload->tag = skb_vlan_tag_get(skb);
	if (skb_is_gso(skb)) {
		error = coop_net_tx_segment(skb, offload);
		if (unlikely(error))
			dev_kfree_skb_any(skb);
	} else if (skb->ip_summed == CHECKSUM_PARTIAL) {
		offload->what = COOP_NET_CHECKSUM;
		offload->tcp = coop_net_tx_is_tcp(skb);
		offload->start = skb_checksum_start_offset(skb);
		offload->field = offload->start + skb->csum_offset;
	}
	return error;
}

static void coop_net_tx_unmap(struct device *dev, const struct coop_net_piece *pieces,
			      unsigned int first, unsigned int mask, unsigned int count)
{
	while (count--) {
		const struct coop_net_piece *piece = &pieces[first++ & mask];

		if (piece->paged)
			dma_unmap_page(dev, piece->dma, piece->len, DMA_TO_DEVICE);
		else
			dma_unmap_single(dev, piece->dma, piece->len, DMA_TO_DEVICE);
	}
}

/*
 * Maps all of @skb for the device to read, piece by piece into pieces[first] and what
 * follows in a ring of @mask + 1, and says what else the device has to do. Returns how many
 * pieces there are; or an error, and @skb is gone.
 */
int coop_net_tx_map(struct device *dev, struct sk_buff *skb, struct coop_net_piece *pieces,
		    unsigned int first, unsigned int mask, struct coop_net_offload *offload)
{
	struct skb_shared_info *info;
	struct coop_net_piece *piece = &pieces[first & mask];
	int i, count, error = coop_net_tx_prepare(skb, offload);

	if (unlikely(error))
		return error;
	/* The link layer's header at least is never in a fragment. */
	piece->len = skb_headlen(skb);
	piece->paged = false;
	piece->dma = dma_map_single(dev, skb->data, piece->len, DMA_TO_DEVICE);
	if (unlikely(dma_mapping_error(dev, piece->dma))) {
		count = 0;
		goto unmap;
	}
	count = 1;
	info = skb_shinfo(skb);
	for (i = 0; i < info->nr_frags; i++) {
		piece = &pieces[(first + count) & mask];
		piece->len = skb_frag_size(&info->frags[i]);
		piece->paged = true;
		piece->dma = skb_frag_dma_map(dev, &info->frags[i], 0, piece->len, DMA_TO_DEVICE);
		if (unlikely(dma_mapping_error(dev, piece->dma)))
			goto unmap;
		count++;
	}
	skb_tx_timestamp(skb);
	return count;
unmap:
	coop_net_tx_unmap(dev, pieces, first, mask, count);
	dev_kfree_skb_any(skb);
	return -ENOMEM;
}

/* @skb was sent. Bottom halves off. Adds what went over the wire to @sent. */
void coop_net_tx_done(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int first,
		      unsigned int mask, unsigned int count, struct coop_net_sent *sent)
{
	unsigned int segments = skb_shinfo(skb)->gso_segs;

	coop_net_tx_unmap(dev, pieces, first, mask, count);
	sent->frames++;
	sent->frame_bytes += skb->len;
	sent->packets++;
	sent->bytes += skb->len;
	if (segments > 1) {
		/* Each segment has had the headers. */
		sent->packets += segments - 1;
		sent->bytes += (segments - 1) * skb_tcp_all_headers(skb);
	}
	/* A netpoll sends with interrupts off, too. */
	napi_consume_skb(skb, !irqs_disabled());
}

/* @skb was not sent, and will not be. */
void coop_net_tx_undo(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int first,
		      unsigned int mask, unsigned int count)
{
	coop_net_tx_unmap(dev, pieces, first, mask, count);
	dev_kfree_skb_any(skb);
}

void coop_net_tx_drop(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

/* --- Devices that frames are copied for --- */

/* Bottom halves off. A received frame of these bytes. */
struct sk_buff *coop_net_take(struct net_device *dev, const void *bytes, unsigned int len)
{
	struct sk_buff *skb = napi_alloc_skb(coop_net_napi(dev), len);

	if (likely(skb))
		skb_put_data(skb, bytes, len);
	return skb;
}

/*
 * Copies all of @skb to @to, with its checksum if that was left to the device, and fills it up
 * to what Ethernet asks for. Returns the length; 0 if there is no room. @skb is gone.
 */
unsigned int coop_net_put(struct sk_buff *skb, void *to, unsigned int room)
{
	unsigned int len = max_t(unsigned int, skb->len, ETH_ZLEN);

	if (unlikely(len > room)) {
		dev_kfree_skb_any(skb);
		return 0;
	}
	skb_copy_and_csum_dev(skb, to);
	memset(to + skb->len, 0, len - skb->len);
	skb_tx_timestamp(skb);
	dev_consume_skb_any(skb);
	return len;
}
