/*
 * connect() by roads that Python has no call for: client HOW PATH [stay]
 *
 * Exits with the errno of the connect(), or 0; with "stay" a connected client
 * stays until it is killed. 200 says that the road itself is not there.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define NO_ROAD	  200
#define QUESTIONS 100

/* Linked connect and send in one submission: what a kill after connect() is too late for. */
static int by_ring(int fd, struct sockaddr_un *address, unsigned setup, unsigned char sqe_flags)
{
	struct io_uring_params params = {.flags = setup, .sq_thread_idle = 2000};
	int both = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE, i, result = -NO_ROAD;
	int ring = syscall(SYS_io_uring_setup, 8, &params);

	if (ring < 0)
		return NO_ROAD;
	char *queue = mmap(0, params.sq_off.array + params.sq_entries * 4, both, how, ring,
			   IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe =
		mmap(0, params.sq_entries * sizeof(*sqe), both, how, ring, IORING_OFF_SQES);
	char *done = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
			  both, how, ring, IORING_OFF_CQ_RING);
	if (queue == MAP_FAILED || sqe == MAP_FAILED || done == MAP_FAILED)
		return NO_ROAD;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe[0].opcode = IORING_OP_CONNECT;
	sqe[0].addr = (uintptr_t)address;
	sqe[0].off = sizeof(*address);
	sqe[0].flags = IOSQE_IO_LINK | sqe_flags;
	sqe[0].user_data = 1;
	sqe[1].opcode = IORING_OP_SEND;
	sqe[1].addr = (uintptr_t) "bytes";
	sqe[1].len = 5;
	sqe[1].user_data = 2;
	sqe[0].fd = sqe[1].fd = fd;
	unsigned *index = (unsigned *)(queue + params.sq_off.array);
	index[0] = 0;
	index[1] = 1;
	__atomic_store_n((unsigned *)(queue + params.sq_off.tail), 2, __ATOMIC_RELEASE);
	unsigned flags =
		IORING_ENTER_GETEVENTS | (setup & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0);
	while (syscall(SYS_io_uring_enter, ring, 2, 2, flags, 0, 0) < 0 && errno == EINTR)
		;
	struct io_uring_cqe *completion = (void *)(done + params.cq_off.cqes);
	for (i = 0; i < 2; i++)
		if (completion[i].user_data == 1)
			result = completion[i].res;
	return -result;
}

#ifdef __x86_64__
/* The 32-bit entry of the kernel, which the tracepoint of the 64-bit system
 * call does not see. */
static int by_compat(int fd, struct sockaddr_un *address)
{
	const int i386_connect = 362;
	struct sockaddr_un *low = mmap(0, sizeof(*low), PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int result;

	if (low == MAP_FAILED)
		return NO_ROAD;
	*low = *address;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(i386_connect), "b"(fd), "c"(low), "d"(sizeof(*low))
			 : "memory", "r8", "r9", "r10", "r11");
	return -result;
}
#endif

/* Ask again and again, each time on a connection of its own, until one is refused. */
static int by_asking(const struct sockaddr_un *address)
{
	static const char question[] = "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n";
	char answer[4096];
	int i, fd;

	for (i = 0; i < QUESTIONS; i++) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
			return errno;
		if (write(fd, question, sizeof(question) - 1) < 0)
			return errno;
		while (read(fd, answer, sizeof(answer)) > 0)
			;
		close(fd);
	}
	return 0;
}

int main(int count, char **words)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), status = NO_ROAD;

	if (count < 3 || fd < 0 || strlen(words[2]) >= sizeof(address.sun_path))
		return NO_ROAD;
	strcpy(address.sun_path, words[2]);
	if (!strcmp(words[1], "plain"))
		status = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;
	else if (!strcmp(words[1], "ask"))
		status = by_asking(&address);
	else if (!strcmp(words[1], "ring"))
		status = by_ring(fd, &address, 0, 0);
	else if (!strcmp(words[1], "ring-worker"))
		status = by_ring(fd, &address, 0, IOSQE_ASYNC);
	else if (!strcmp(words[1], "ring-poller"))
		status = by_ring(fd, &address, IORING_SETUP_SQPOLL, 0);
#ifdef __x86_64__
	else if (!strcmp(words[1], "compat"))
		status = by_compat(fd, &address);
#endif
	if (status == 0 && count > 3)
		for (;;)
			pause();
	return status;
}
