import com.pixelmed.validate.DicomSRValidator;

/** Validates structured reports with PixelMed, all in one virtual machine: its rules take half a minute to load. */
final class SrValidation {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("File: " + file);
            System.out.println(validator.validate(file));
        }
    }
}
