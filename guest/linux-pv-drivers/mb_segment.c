// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Mirrorball's shared segments (docs/segments.md of its tree): memory that this machine and others have together. Each
 * is a file /dev/mirrorball/NAME: mmap gives the memory, write rings its bell in the others, read waits until one of
 * them has rung.
 */
#include <linux/acpi.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <mirrorball/segment.h>

#include "mirrorball.h"

/* Open files keep it when the device goes: its memory stays where it is as long as the machine runs. */
struct mb_segment_file {
	struct kref users;
	unsigned int index;
	phys_addr_t base;
	size_t bytes;
	bool readonly;
	bool gone;			/* the device is: no bell will ring any more */
	atomic64_t rings;		/* how often the bell was heard */
	wait_queue_head_t heard;
	struct miscdevice misc;
	char name[MB_SEGMENT_NAME + 16];
	char node[MB_SEGMENT_NAME + 16];
};

struct mb_segments {
	struct mb_segment_file *file[MB_SEGMENT_MAX];
	int irq;			/* negative: none */
};

/* An open file. */
struct listener {
	struct mb_segment_file *s;
	atomic64_t seen;		/* rings that were read */
};

static void release(struct kref *users)
{
	kfree(container_of(users, struct mb_segment_file, users));
}

static struct mb_segment_file *segment_of(struct miscdevice *misc)
{
	return container_of(misc, struct mb_segment_file, misc);
}

static int mb_segment_open(struct inode *inode, struct file *file)
{
	/* misc_open holds its lock, which misc_deregister takes: it is still there. */
	struct mb_segment_file *s = segment_of(file->private_data);
	struct listener *l;

	if (s->readonly && (file->f_mode & FMODE_WRITE))
		return -EROFS;
	l = kzalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return -ENOMEM;
	kref_get(&s->users);
	l->s = s;
	atomic64_set(&l->seen, atomic64_read(&s->rings));
	file->private_data = l;
	return 0;
}

static int mb_segment_release(struct inode *inode, struct file *file)
{
	struct listener *l = file->private_data;

	kref_put(&l->s->users, release);
	kfree(l);
	return 0;
}

/* The same memory for all who map it, so a private mapping that can be written would be a trap. */
static int mb_segment_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct listener *l = file->private_data;

	if (!(vma->vm_flags & VM_SHARED) && (vma->vm_flags & VM_WRITE))
		return -EINVAL;
	vma->vm_flags &= ~VM_MAYEXEC;
	return vm_iomap_memory(vma, l->s->base, l->s->bytes);
}

/* Nothing to read or write: a seek to the end tells the size. */
static loff_t mb_segment_llseek(struct file *file, loff_t offset, int whence)
{
	struct listener *l = file->private_data;

	return fixed_size_llseek(file, offset, whence, l->s->bytes);
}

static bool has_news(struct listener *l)
{
	return atomic64_read(&l->s->rings) != atomic64_read(&l->seen) || READ_ONCE(l->s->gone);
}

/* The number of rings heard until now, once there are some that this file has not told of. */
static ssize_t mb_segment_read(struct file *file, char __user *to, size_t n, loff_t *at)
{
	struct listener *l = file->private_data;
	u64 rings;
	int err;

	if (n < sizeof(rings))
		return -EINVAL;
	if (!has_news(l)) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(l->s->heard, has_news(l));
		if (err)
			return err;
	}
	if (READ_ONCE(l->s->gone))
		return -ENODEV;
	rings = atomic64_read(&l->s->rings);
	if (copy_to_user(to, &rings, sizeof(rings)))
		return -EFAULT;
	atomic64_set(&l->seen, rings);
	return sizeof(rings);
}

static ssize_t mb_segment_write(struct file *file, const char __user *from, size_t n, loff_t *at)
{
	struct listener *l = file->private_data;
	long err;

	if (READ_ONCE(l->s->gone))
		return -ENODEV;
	err = mirrorball_call(MIRRORBALL_CALL_SEGMENT_RING, l->s->index, 0);
	return err ?: n;
}

static __poll_t mb_segment_poll(struct file *file, poll_table *wait)
{
	struct listener *l = file->private_data;
	__poll_t can = file->f_mode & FMODE_WRITE ? EPOLLOUT | EPOLLWRNORM : 0;

	poll_wait(file, &l->s->heard, wait);
	if (READ_ONCE(l->s->gone))
		return EPOLLHUP | EPOLLERR;
	return has_news(l) ? can | EPOLLIN | EPOLLRDNORM : can;
}

static const struct file_operations mb_segment_fops = {
	.owner = THIS_MODULE,
	.open = mb_segment_open,
	.release = mb_segment_release,
	.mmap = mb_segment_mmap,
	.llseek = mb_segment_llseek,
	.read = mb_segment_read,
	.write = mb_segment_write,
	.poll = mb_segment_poll,
};

static ssize_t size_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%zu\n", segment_of(dev_get_drvdata(dev))->bytes);
}
static DEVICE_ATTR_RO(size);

static ssize_t ro_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", segment_of(dev_get_drvdata(dev))->readonly);
}
static DEVICE_ATTR_RO(ro);

static struct attribute *mb_segment_attrs[] = {
	&dev_attr_size.attr,
	&dev_attr_ro.attr,
	NULL
};
ATTRIBUTE_GROUPS(mb_segment);

static void hear(struct mb_segments *m)
{
	unsigned long rung = mirrorball_call(MIRRORBALL_CALL_SEGMENT_RUNG, 0, 0);
	unsigned int i;

	for_each_set_bit(i, &rung, MB_SEGMENT_MAX) {
		if (!m->file[i])
			continue;
		atomic64_inc(&m->file[i]->rings);
		wake_up_interruptible(&m->file[i]->heard);
	}
}

static irqreturn_t mb_segment_interrupt(int irq, void *data)
{
	hear(data);
	return IRQ_HANDLED;
}

/* -ENODEV: there is no such segment. */
static struct mb_segment_file *add_segment(struct device *dev, unsigned int index)
{
	struct mb_segment *info = kzalloc(sizeof(*info), GFP_KERNEL); /* aligned to its size, a power of two */
	struct mb_segment_file *s = kzalloc(sizeof(*s), GFP_KERNEL);
	long err = -ENOMEM;

	if (info && s)
		err = mirrorball_call(MIRRORBALL_CALL_SEGMENT_INFO, index, virt_to_phys(info));
	if (err)
		goto free;
	kref_init(&s->users);
	init_waitqueue_head(&s->heard);
	s->index = index;
	s->base = info->gpa;
	s->bytes = info->bytes;
	s->readonly = info->flags & MB_SEGMENT_READONLY;
	info->name[MB_SEGMENT_NAME - 1] = '\0';
	snprintf(s->name, sizeof(s->name), "mirrorball-%s", info->name);
	snprintf(s->node, sizeof(s->node), "mirrorball/%s", info->name);
	s->misc.minor = MISC_DYNAMIC_MINOR;
	s->misc.name = s->name;
	s->misc.nodename = s->node;
	s->misc.fops = &mb_segment_fops;
	s->misc.parent = dev;
	s->misc.groups = mb_segment_groups;
	s->misc.mode = s->readonly ? 0400 : 0600;
	err = misc_register(&s->misc);
free:
	kfree(info);
	if (err) {
		kfree(s);
		return ERR_PTR(err);
	}
	return s;
}

static void remove_segments(struct mb_segments *m)
{
	unsigned int i;

	for (i = 0; i < MB_SEGMENT_MAX; i++) {
		struct mb_segment_file *s = m->file[i];

		if (!s)
			continue;
		misc_deregister(&s->misc);
		WRITE_ONCE(s->gone, true);
		wake_up_interruptible(&s->heard);
		kref_put(&s->users, release);
	}
}

/* A bell that rang before there was somebody to hear it keeps the interrupt from coming: so it is asked for once. */
static void start_hearing(struct platform_device *pdev, struct mb_segments *m)
{
	int err;

	m->irq = platform_get_irq_optional(pdev, 0);
	err = m->irq < 0 ? m->irq : request_irq(m->irq, mb_segment_interrupt, 0, KBUILD_MODNAME, m);
	if (err) {
		m->irq = -1;
		dev_warn(&pdev->dev, "no interrupt (%d): bells are not heard\n", err);
		return;
	}
	hear(m);
}

/* Without an interrupt, or one of the segments, the rest still works. */
static int mb_segment_probe(struct platform_device *pdev)
{
	unsigned int i, found = 0;
	struct mb_segments *m;

	if (!mirrorball_present())
		return -ENODEV;
	m = devm_kzalloc(&pdev->dev, sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	for (i = 0; i < MB_SEGMENT_MAX; i++) {
		struct mb_segment_file *s = add_segment(&pdev->dev, i);

		if (PTR_ERR(s) == -ENODEV)
			break;
		if (IS_ERR(s)) {
			dev_err(&pdev->dev, "segment %u cannot be used (%ld)\n", i, PTR_ERR(s));
			continue;
		}
		m->file[i] = s;
		found++;
	}
	if (!found)
		return -ENODEV;
	platform_set_drvdata(pdev, m);
	start_hearing(pdev, m);
	return 0;
}

static int mb_segment_remove(struct platform_device *pdev)
{
	struct mb_segments *m = platform_get_drvdata(pdev);

	if (m->irq >= 0)
		free_irq(m->irq, m);
	remove_segments(m);
	return 0;
}

static const struct acpi_device_id mb_segment_ids[] = {
	{ MIRRORBALL_ACPI_SEGMENTS, 0 },
	{ }
};
MODULE_DEVICE_TABLE(acpi, mb_segment_ids);

static struct platform_driver mb_segment_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_segment_ids,
	},
	.probe = mb_segment_probe,
	.remove = mb_segment_remove,
};
module_platform_driver(mb_segment_driver);

MODULE_DESCRIPTION("Shared segments of the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
