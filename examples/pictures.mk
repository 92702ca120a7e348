# Edge pictures, made anew where the photograph or the kernel is newer:
#
#   make -f examples/pictures.mk -j4 PHOTOS=photos OUT=edges
#
# A picture appears whole or not at all, so a broken run leaves no file that make would take for done. Names must not hold
# spaces: make cannot; examples/edges-of-a-folder.sh can.
PHOTOS ?= photos
OUT ?= edges
KERNEL ?= sobel

PICTURES := $(patsubst $(PHOTOS)/%,$(OUT)/%,$(wildcard $(PHOTOS)/*.png $(PHOTOS)/*.jpg))

.PHONY: all
all: $(PICTURES)

# A kernel that is a file is a prerequisite; the name of one that ships is none.
$(OUT)/%: $(PHOTOS)/% $(wildcard $(KERNEL)) | $(OUT)
	convcli apply $< -k $(KERNEL) -o $@ --overwrite --quiet

$(OUT):
	mkdir -p $@
