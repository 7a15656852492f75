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
#include <net/page_pool/helpers.h>
#include <net/tcp.h>

#include "helpers.h"

/* --- Receiving --- */

#define COOP_NET_HEADROOM (NET_SKB_PAD + NET_IP_ALIGN)

/* A buffer takes whole pages, which the pool keeps mapped. */
static unsigned int coop_net_rx_order(unsigned int len)
{
	return get_order(SKB_DATA_ALIGN(COOP_NET_HEADROOM + len) +
			 SKB_DATA_ALIGN(sizeof(struct skb_shared_info)));
}

/* A pool of @count buffers for @len bytes of a frame. It may sleep, as may _free. */
struct page_pool *coop_net_rx_pool(struct net_device *netdev, unsigned int count, unsigned int len)
{
	struct page_pool_params params = {
		.flags		= PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV,
		.order		= coop_net_rx_order(len),
		.pool_size	= count,
		.nid		= NUMA_NO_NODE,
		.dev		= netdev->dev.parent,
		.dma_dir	= DMA_FROM_DEVICE,
		.offset		= COOP_NET_HEADROOM,
		.max_len	= len,
		.netdev		= netdev,
	};
	struct page_pool *pool = page_pool_create(&params);

	return IS_ERR(pool) ? NULL : pool;
}

/* What frames still have of it, they give back later. */
void coop_net_rx_pool_free(struct page_pool *pool)
{
	page_pool_destroy(pool);
}

/* A buffer, which becomes an sk_buff without a copy. One at a time. */
void *coop_net_rx_alloc(struct page_pool *pool, dma_addr_t *dma)
{
	struct page *page = page_pool_dev_alloc_pages(pool);

	if (unlikely(!page))
		return NULL;
	*dma = page_pool_get_dma_addr(page) + COOP_NET_HEADROOM;
	return page_address(page);
}

void coop_net_rx_free(struct page_pool *pool, void *buffer)
{
	page_pool_put_full_page(pool, virt_to_page(buffer), false);
}

/* Bottom halves off. Takes @buffer over, whatever becomes of it. */
struct sk_buff *coop_net_rx_build(struct net_device *netdev, struct page_pool *pool,
				  void *buffer, unsigned int len)
{
	struct sk_buff *skb;

	page_pool_dma_sync_for_cpu(pool, virt_to_page(buffer), 0, len);
	skb = napi_build_skb(buffer, PAGE_SIZE << pool->p.order);
	if (unlikely(!skb)) {
		coop_net_rx_free(pool, buffer);
		return NULL;
	}
	skb_mark_for_recycle(skb);
	skb_reserve(skb, COOP_NET_HEADROOM);
	skb_put(skb, len);
	skb->dev = netdev;
	return skb;
}

/* Attaches the first @len bytes of @buffer, which is taken over, to @skb, which has its first. */
bool coop_net_rx_append(struct sk_buff *skb, struct page_pool *pool, void *buffer,
			unsigned int len)
{
	struct page *page = virt_to_page(buffer);

	if (unlikely(!skb->pp_recycle || skb_shinfo(skb)->nr_frags == MAX_SKB_FRAGS)) {
		coop_net_rx_free(pool, buffer);
		return false;
	}
	page_pool_dma_sync_for_cpu(pool, page, 0, len);
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, COOP_NET_HEADROOM, len,
			PAGE_SIZE << pool->p.order);
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

/* The device fills in lengths and sums as it cuts the frame up: leave room for them. */
static int coop_net_tx_segment(struct sk_buff *skb, struct coop_net_offload *offload)
{
	const struct skb_shared_info *info = skb_shinfo(skb);
	unsigned int headers = skb_tcp_all_headers(skb);
	int error;

	/*
	 * The stack has cut up what has too many segments, but for what a packet socket sends past the
	 * queue: nobody has counted those before gso_features_check().
	 */
	if (unlikely(headers > U8_MAX || info->gso_size < TCP_MIN_GSO_SIZE ||
		     skb->len > headers + skb->dev->tso_max_segs * info->gso_size))
		return -EMSGSIZE;
	error = skb_cow_head(skb, 0);
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
	offload->headers = headers;
	offload->segment = skb_shinfo(skb)->gso_size;
	return 0;
}

/* The device sums up, if it can tell where. */
static int coop_net_tx_checksum(struct sk_buff *skb, struct coop_net_offload *offload)
{
	unsigned int start = skb_checksum_start_offset(skb);
	unsigned int field = start + skb->csum_offset;

	if (unlikely(field > U8_MAX))
		return skb_checksum_help(skb);
	offload->what = COOP_NET_CHECKSUM;
	offload->tcp = skb->csum_offset == offsetof(struct tcphdr, check);
	offload->start = start;
	offload->field = field;
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
	} else if (skb->ip_summed == CHECKSUM_PARTIAL) {
		error = coop_net_tx_checksum(skb, offload);
	}
	if (unlikely(error))
		dev_kfree_skb_any(skb);
	return error;
}

static inline void coop_net_tx_unmap(struct device *dev, const struct coop_net_piece *piece,
				     unsigned int count)
{
	/* What was mapped by its address is no different. */
	for (; count; count--, piece++)
		dma_unmap_page(dev, piece->dma, piece->len, DMA_TO_DEVICE);
}

static_assert(MAX_SKB_FRAGS + 1 <= COOP_NET_MAX_PIECES);

/*
 * Maps all of @skb for the device to read, piece by piece, and says what else the device
 * has to do; of @offload only what is asked for is set. Returns how many pieces there are,
 * COOP_NET_MAX_PIECES at most; or an error, and @skb is gone.
 */
int coop_net_tx_map(struct device *dev, struct sk_buff *skb, struct coop_net_piece *pieces,
		    struct coop_net_offload *offload)
{
	struct skb_shared_info *info;
	struct coop_net_piece *piece = pieces;
	int i, error = coop_net_tx_prepare(skb, offload);

	if (unlikely(error))
		return error;
	/* The link layer's header at least is never in a fragment. */
	piece->len = skb_headlen(skb);
	piece->dma = dma_map_single(dev, skb->data, piece->len, DMA_TO_DEVICE);
	if (unlikely(dma_mapping_error(dev, piece->dma)))
		goto unmap;
	piece++;
	info = skb_shinfo(skb);
	for (i = 0; i < info->nr_frags; i++) {
		piece->len = skb_frag_size(&info->frags[i]);
		piece->dma = skb_frag_dma_map(dev, &info->frags[i], 0, piece->len, DMA_TO_DEVICE);
		if (unlikely(dma_mapping_error(dev, piece->dma)))
			goto unmap;
		piece++;
	}
	skb_tx_timestamp(skb);
	return piece - pieces;
unmap:
	coop_net_tx_unmap(dev, pieces, piece - pieces);
	dev_kfree_skb_any(skb);
	return -ENOMEM;
}

/* @skb was sent. Bottom halves off. Adds what went over the wire to @sent. */
void coop_net_tx_done(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int count,
		      struct coop_net_sent *sent)
{
	unsigned int segments = skb_shinfo(skb)->gso_segs;
	unsigned int len = skb->len;

	coop_net_tx_unmap(dev, pieces, count);
	sent->frames++;
	sent->frame_bytes += len;
	sent->packets++;
	sent->bytes += len;
	if (segments > 1) {
		/* Each segment has had the headers. */
		sent->packets += segments - 1;
		sent->bytes += (segments - 1) * skb_tcp_all_headers(skb);
		sent->cut_frames++;
		sent->cut_packets += segments;
	}
	/* A netpoll sends with interrupts off, too. */
	napi_consume_skb(skb, !irqs_disabled());
}

/* @skb was not sent, and will not be. */
void coop_net_tx_undo(struct device *dev, struct sk_buff *skb,
		      const struct coop_net_piece *pieces, unsigned int count)
{
	coop_net_tx_unmap(dev, pieces, count);
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
