/* Stands in for libnvinfer and its parser, so that NVIDIA's Python bindings load and run without them.
   Every factory gives one object, and every virtual function of it answers that object again: as an
   integer its address is 1, as a bool true, as text "", as a pointer itself. With -DNOTHING factories
   give NULL, as they do where CUDA does not start. x86-64 Linux; compiled once for each library's name. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
typedef void *any;
enum { SLOTS = 1024, PAGE = 4096 };
/* Low 32 bits of the object are 1; the low byte of the table is 0, which ends the text it begins. */
#define OBJECT ((char *)0x510000000001)
#define TABLE ((any *)0x520000000000)
static struct { any table; const char *name; } type = { TABLE, "6Answer" };
static any answer(any first, any second) {
  /* A structure is returned through a pointer that comes before the object. */
  return first != OBJECT && second == OBJECT ? memset(first, 0, 24) : OBJECT;
}
static any map(any at, size_t size) {
  return mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}
__attribute__((constructor)) static void lay(void) {
  char *below = (char *)TABLE - PAGE;
  if (map(OBJECT - 1, PAGE) != OBJECT - 1 || map(below, PAGE + SLOTS * sizeof(any)) != below) return; /* laid before */
  TABLE[-1] = &type; /* run-time type information; the offset before it stays 0 */
  for (int slot = 0; slot < SLOTS; slot++) TABLE[slot] = (any)answer;
  any fields[8] = { TABLE, OBJECT, OBJECT, OBJECT, OBJECT, OBJECT, OBJECT, OBJECT };
  memcpy(OBJECT, fields, sizeof fields);
}
#ifdef NOTHING
#define FACTORY(name) any name(void) { return 0; }
#else
#define FACTORY(name) any name(void) { return OBJECT; }
#endif
FACTORY(createInferBuilder_INTERNAL) FACTORY(createInferRuntime_INTERNAL) FACTORY(createInferRefitter_INTERNAL)
FACTORY(createNvOnnxParser_INTERNAL) FACTORY(createNvOnnxParserRefitter_INTERNAL)
FACTORY(getPluginRegistry) FACTORY(getBuilderPluginRegistry)
int initLibNvInferPlugins(any logger, const char *names) { return 1; }
int getNvOnnxParserVersion(void) { return 0; }
int getInferLibVersion(void) { return 0; }
/* Parsers that TensorRT 8 still had. */
FACTORY(_ZN11nvuffparser15createUffParserEv) FACTORY(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
FACTORY(_ZN14nvcaffeparser117createCaffeParserEv) FACTORY(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
